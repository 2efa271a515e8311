"""Whatever goes wrong while a shadow uploads, is read back or is undone, nothing of it stays, or it is said."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import pytest

from migration import Side
from migration.model import Verdict
from tests.tools.live.bench import Bench, Held, document, troubled
from tests.tools.live.conftest import MakeBench
from tools.sandbox import Fault, FaultKind
from tools.shadowing import Fate, clean

pytestmark = pytest.mark.thorough

KIMI, GLM, SUPABASE = "kimi", "glm", "supabase"


def fault(kind: FaultKind, service: str, operation: str, times: int | None = 1, **more: float) -> Fault:
    return Fault(kind=kind, service=service, operation=operation, times=times, **more)  # type: ignore[arg-type]  # numbers


AT_CREATION = [
    fault(FaultKind.DROP_AFTER_COMMIT, KIMI, "files.create"),
    fault(FaultKind.DROP_AFTER_COMMIT, KIMI, "files.create", None),
    fault(FaultKind.RESET_MID_BODY, KIMI, "files.create"),
    fault(FaultKind.SERVER_ERROR, KIMI, "files.create", None),
    fault(FaultKind.RATE_LIMITED, KIMI, "files.create"),
    fault(FaultKind.QUOTA_EXCEEDED, KIMI, "files.create"),
    fault(FaultKind.GATEWAY_TIMEOUT, KIMI, "files.create"),
    fault(FaultKind.DROP_AFTER_COMMIT, SUPABASE, "object.upload"),
    fault(FaultKind.RESET_MID_BODY, SUPABASE, "object.upload"),
    fault(FaultKind.SERVER_ERROR, SUPABASE, "object.upload"),
    fault(FaultKind.DROP_AFTER_COMMIT, SUPABASE, "table.insert"),
    fault(FaultKind.SERVER_ERROR, SUPABASE, "table.insert"),
]
READING = ("files.retrieve", "files.content", "object.info", "object.list", "object.download", "table.select")
UNDOING = ("files.list", "files.delete", "object.remove", "table.delete")


def service_of(operation: str) -> str:
    return KIMI if operation.startswith("files") else SUPABASE


def nothing_but_the_calls_own(bench: Bench, own: list[Held]) -> None:
    """The state is what the call itself left, in every byte."""
    held = bench.state()
    assert not held.marked
    assert not held.resumable
    assert held == own[0]


def noted(bench: Bench, own: list[Held], *faults: Fault) -> None:
    own.append(dataclasses.replace(bench.state(), copies=[]))  # the trial has its copies at this moment
    bench.sandbox.set_faults(faults)


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("wrong", AT_CREATION, ids=lambda one: f"{one.kind} {one.operation} {one.times}")
def test_faults_while_uploading(wrong: Fault, side: Side, make_bench: MakeBench, tmp_path: Path) -> None:
    """A shadow that fails, or loses an answer, is found by its mark and removed; what the call made is untouched."""
    bench, own = make_bench("kimi", "supabase"), list[Held]()
    shim = troubled(bench, side, before=lambda: noted(bench, own, wrong), after=bench.sandbox.clear_faults)
    bench.compare(document(tmp_path), bench.storage, serve=side.other, shim=shim)
    nothing_but_the_calls_own(bench, own)
    assert not bench.notices


@pytest.mark.parametrize("kind", [FaultKind.SERVER_ERROR, FaultKind.DROP_AFTER_COMMIT, FaultKind.RATE_LIMITED])
@pytest.mark.parametrize("operation", [*READING, *UNDOING])
def test_faults_that_pass_while_reading_back_and_undoing(
    operation: str, kind: FaultKind, make_bench: MakeBench, tmp_path: Path
) -> None:
    """Looking and removing are tried again until they succeed: the comparison is made all the same."""
    bench, own = make_bench("kimi", "supabase"), list[Held]()
    passing = fault(kind, service_of(operation), operation, 2)
    shim = troubled(
        bench, Side.CANDIDATE, before=lambda: noted(bench, own), after=lambda: bench.sandbox.set_faults([passing])
    )
    comparison = bench.compare(document(tmp_path), bench.storage, shim=shim)
    assert comparison.verdict is Verdict.IDENTICAL, (comparison.detail, comparison.differences)
    bench.sandbox.clear_faults()
    nothing_but_the_calls_own(bench, own)
    assert not bench.notices


@pytest.mark.parametrize("operation", UNDOING)
def test_what_cannot_be_undone_is_said_and_undone_later(operation: str, make_bench: MakeBench, tmp_path: Path) -> None:
    """An outage at the end of a trial leaves its things and a notice; the next clean-up removes them."""
    bench, own = make_bench("kimi", "supabase"), list[Held]()
    lasting = fault(FaultKind.SERVER_ERROR, service_of(operation), operation, None)
    shim = troubled(
        bench, Side.CANDIDATE, before=lambda: noted(bench, own), after=lambda: bench.sandbox.set_faults([lasting])
    )
    bench.compare(document(tmp_path), bench.storage, shim=shim)
    [notice] = bench.notices
    assert "shim shadows clean" in notice
    assert bench.state().marked
    bench.sandbox.clear_faults()

    [seen] = asyncio.run(clean(bench.settings, dry_run=True))
    assert seen.fate is Fate.THERE
    assert bench.state().marked
    [cleaned] = asyncio.run(clean(bench.settings))
    assert cleaned.fate is Fate.REMOVED, cleaned
    nothing_but_the_calls_own(bench, own)
    assert asyncio.run(clean(bench.settings)) == []


def test_an_outage_while_reading_back_is_no_verdict(make_bench: MakeBench, tmp_path: Path) -> None:
    """What cannot be looked at is not compared, and undone as soon as that is possible."""
    bench, own = make_bench("kimi", "supabase"), list[Held]()
    lasting = fault(FaultKind.SERVER_ERROR, SUPABASE, "object.download", None)
    shim = troubled(
        bench, Side.CANDIDATE, before=lambda: noted(bench, own), after=lambda: bench.sandbox.set_faults([lasting])
    )
    comparison = bench.compare(document(tmp_path), bench.storage, shim=shim)
    assert comparison.verdict is Verdict.DROPPED
    assert "HTTP 500" in comparison.detail
    nothing_but_the_calls_own(bench, own)


def test_a_provider_that_does_not_list_is_not_guessed_about(make_bench: MakeBench, tmp_path: Path) -> None:
    """Without GLM's listing the shadow is compared in part, which is said, and removed by its id."""
    bench, own = make_bench("glm", "supabase"), list[Held]()
    unlisted = fault(FaultKind.SERVER_ERROR, GLM, "files.list", None)
    shim = troubled(bench, Side.CANDIDATE, before=lambda: noted(bench, own, unlisted))
    comparison = bench.compare(document(tmp_path), bench.storage, shim=shim)
    assert comparison.verdict is Verdict.IDENTICAL, (comparison.detail, comparison.differences)
    assert "not compared: the files at GLM, which does not list them" in comparison.detail
    nothing_but_the_calls_own(bench, own)
    assert not bench.notices


def test_a_lost_answer_of_a_provider_that_does_not_list_is_reported(make_bench: MakeBench, tmp_path: Path) -> None:
    """It is not known what such a provider has: the file stays, and a notice and the clean-up say how it is named."""
    bench, own = make_bench("glm", "supabase"), list[Held]()
    faults = [
        fault(FaultKind.DROP_AFTER_COMMIT, GLM, "files.create", None),
        fault(FaultKind.SERVER_ERROR, GLM, "files.list", None),
    ]
    shim = troubled(bench, Side.CANDIDATE, before=lambda: noted(bench, own, *faults))
    comparison = bench.compare(document(tmp_path), bench.storage, shim=shim)
    assert comparison.verdict is Verdict.CANDIDATE_ERROR
    [notice] = bench.notices
    assert "does not list its files" in notice
    assert "shadow-" in notice
    [cleanup] = asyncio.run(clean(bench.settings))
    assert cleanup.fate is Fate.UNCERTAIN
    bench.sandbox.clear_faults()
    [cleanup] = asyncio.run(clean(bench.settings))
    assert cleanup.fate is Fate.REMOVED
    nothing_but_the_calls_own(bench, own)
