"""`shim reconcile`: shown first, done when asked to, and told by the exit code."""

from __future__ import annotations

from pathlib import Path

import pytest

from shim.cli.conventions import ExitCode
from tests.support.command_line import CommandLine, RunHere
from tests.tools.recovery.bench import Bench
from tools.journal.port import State, UploadSide
from tools.sandbox import FaultKind, RunningSandbox
from tools.settings import Settings, use_settings


@pytest.fixture
def bench(sandbox: RunningSandbox, tmp_path: Path) -> Bench:
    settings = Settings.model_validate(
        {
            "kimi_api_url": sandbox.urls["kimi"],
            "kimi_api_key": sandbox.key,
            "shim_home": tmp_path / "home",
        }
    )
    return Bench(provider="kimi", side=UploadSide.ASYNC, settings=settings, sandbox=sandbox, folder=tmp_path / "files")


@pytest.fixture
def variables(sandbox: RunningSandbox) -> dict[str, str]:
    return {"KIMI_API_KEY": sandbox.key, "KIMI_API_URL": sandbox.urls["kimi"]}


def test_nothing_is_left(run_here: RunHere, variables: dict[str, str]) -> None:
    """It says so, and ends well."""
    finished = run_here("reconcile", "--orphans", **variables)
    assert finished.code == ExitCode.OK
    assert "No upload is unfinished." in finished.out
    assert "There are no orphans." in finished.out


def test_it_is_shown_and_then_done(run_here: RunHere, bench: Bench, variables: dict[str, str]) -> None:
    """Without --apply nothing changes, and the exit code says that something is left."""
    with use_settings(bench.settings):
        path = bench.document()
        intent = bench.left(path, State.SENDING)
        bench.send(path)
        odd = bench.document(name="plan\x1b[31m.txt")
        bench.left(odd, State.STORED)
        odd.unlink()
    shown = run_here("reconcile", **variables)
    assert shown.code == ExitCode.LEFT
    assert "adopt" in shown.out
    assert "shim reconcile --apply" in shown.out
    assert "\x1b[31m" not in shown.out
    assert bench.account().rows == []
    finished = run_here("reconcile", "--apply", "--json", **variables)
    assert finished.code == ExitCode.OK
    told = [(upload["upload_id"], upload["step"], upload["done"]) for upload in finished.document["uploads"]]
    assert told[0] == (intent.upload_id, "adopt", True)
    assert [each[1:] for each in told[1:]] == [("clean up", True)]
    assert bench.account().is_whole(intent.sha256)
    assert run_here("reconcile", "--json", **variables).document["uploads"] == []


def test_what_cannot_be_known_is_told(run_here: RunHere, bench: Bench, variables: dict[str, str]) -> None:
    """A provider that does not list its files: the upload stays, and the exit code says so."""
    with use_settings(bench.settings):
        bench.left(bench.document(), State.UNKNOWN)
    bench.sandbox.inject(FaultKind.SERVER_ERROR, "kimi", "files.list", times=None)
    finished = run_here("reconcile", "--apply", "--orphans", "--json", **variables)
    assert finished.code == ExitCode.LEFT
    assert [upload["step"] for upload in finished.document["uploads"]] == ["unknown"]
    assert len(finished.document["not_known"]) == 1


def test_orphans_are_removed_when_asked_to(run_here: RunHere, bench: Bench, variables: dict[str, str]) -> None:
    """A copy without a row: young it stays, and what is left alone is nothing left to do."""
    with use_settings(bench.settings):
        bench.store(bench.document())
    young = run_here("reconcile", "--orphans", "--apply", "--json", **variables)
    assert young.code == ExitCode.OK
    assert [orphan["kept_because"] for orphan in young.document["orphans"]] == ["it is too young"]
    shown = run_here("reconcile", "--orphans", "--older-than", "0s", **variables)
    assert shown.code == ExitCode.LEFT
    assert "shim reconcile --orphans --apply" in shown.out
    finished = run_here("reconcile", "--orphans", "--apply", "--older-than", "0s", "--json", **variables)
    assert finished.code == ExitCode.OK
    assert [orphan["done"] for orphan in finished.document["orphans"]] == [True]
    assert bench.account().copies == {}


def test_without_keys_it_looks_at_the_sandbox(shim: CommandLine, documents: list[Path]) -> None:
    """Where `shim upload` has uploaded without keys; nothing is unfinished there."""
    assert shim("upload", documents[0]).code == ExitCode.OK
    finished = shim("reconcile", "--orphans", "--json")
    assert finished.code == ExitCode.OK
    assert finished.document == {"applied": False, "uploads": [], "orphans": [], "not_known": []}
    assert "sandbox" in finished.err
