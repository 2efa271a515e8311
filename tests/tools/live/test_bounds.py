"""What live shadows may cost: a number of objects, bytes an hour, time. And the caller, who pays nothing."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from migration import ShadowLimits, Side
from migration.model import Verdict
from migration.routing import Shim
from tests.migration.helpers import eventually
from tests.tools.live.bench import Bench, Held, declared, document, troubled
from tests.tools.live.conftest import MakeBench
from tests.tools.live.test_faults import fault, noted, nothing_but_the_calls_own
from tools.providers.kimi.kimi_client import send_file
from tools.sandbox import FaultKind
from tools.shadowing import Fate, clean
from tools.shadowing import live as trial
from tools.shadowing.marks import SHADOW_STATUS
from tools.shadowing.undoing import journal_of
from tools.storage import get_storage

pytestmark = pytest.mark.thorough


def test_the_hourly_quota_drops(make_bench: MakeBench, tmp_path: Path) -> None:
    """Beyond the bytes of an hour nothing is made any more, and each comparison that is dropped says why."""
    bench = make_bench("kimi", "embedded", shadow_live_hourly_bytes=250)
    found = [bench.upload(document(tmp_path, bytes(100), f"{number}.bin")) for number in range(4)]
    assert [each.verdict for each in found] == [Verdict.IDENTICAL] * 2 + [Verdict.DROPPED] * 2
    assert "200 of 250 bytes" in found[-1].detail
    assert len(bench.sandbox.requests("kimi", "files.create")) == 4 + 2


def test_the_quota_of_objects_drops(make_bench: MakeBench, tmp_path: Path) -> None:
    """What could not be undone counts, so an outage ends the making; a clean-up lets it go on."""
    bench = make_bench("kimi", "embedded", shadow_live_objects=1)
    bench.sandbox.inject(FaultKind.SERVER_ERROR, "kimi", "files.delete", times=None)
    first, second = (bench.upload(document(tmp_path, name=f"{number}.txt")) for number in range(2))
    assert (first.verdict, second.verdict) == (Verdict.IDENTICAL, Verdict.DROPPED)
    assert "1 of 1 objects" in second.detail
    bench.sandbox.clear_faults()
    assert [each.fate for each in asyncio.run(clean(bench.settings))] == [Fate.REMOVED]
    assert bench.upload(document(tmp_path, name="3.txt")).verdict is Verdict.IDENTICAL


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("kind", [FaultKind.HANG, FaultKind.LATENCY])
def test_a_trial_that_takes_too_long_is_undone(
    kind: FaultKind, side: Side, make_bench: MakeBench, tmp_path: Path
) -> None:
    """Cut off in the middle of an upload, with an answer that never comes or that comes too late."""
    bench, own = make_bench("kimi", "supabase", shadow_live_timeout=0.7), list[Held]()
    slow = fault(kind, "kimi", "files.create", None, seconds=1.5)
    shim = troubled(bench, side, before=lambda: noted(bench, own, slow))
    comparison = bench.compare(document(tmp_path), bench.storage, serve=side.other, shim=shim)
    assert comparison.verdict is Verdict.DROPPED
    assert "0.7 s" in comparison.detail
    bench.sandbox.clear_faults()
    assert [each.fate for each in asyncio.run(clean(bench.settings))] == [Fate.REMOVED], "it is looked for again"
    nothing_but_the_calls_own(bench, own)


def test_a_thread_that_outlives_its_trial_makes_nothing_more(make_bench: MakeBench, tmp_path: Path) -> None:
    """Legacy cannot be stopped when its time is over; what it then asks for is refused before it is sent."""
    bench, own = make_bench("kimi", "supabase", shadow_live_timeout=0.3), list[Held]()
    released, refusals = threading.Event(), list[str]()
    path = document(tmp_path)

    def legacy(file_path: Path, storage: Any, purpose: str = "file-extract") -> None:
        noted(bench, own)
        released.wait(20)
        copy = {"file_data": b"late", "original_name": "late", "mime_type": None, "file_type": "late"}
        for late in (
            lambda: storage.upload_file(file_path=f"kimi-gateway/{file_path.name}", **copy),
            lambda: send_file(path, purpose),
        ):
            try:
                late()
            except Exception as error:  # noqa: BLE001  # whatever the client makes of it
                refusals.append(type(error).__name__)

    shim = Shim(declared("kimi"), legacy, bench.runtime)
    comparison = bench.compare(path, bench.storage, serve=Side.CANDIDATE, shim=shim)
    assert comparison.verdict is Verdict.DROPPED
    requests = len(bench.sandbox.requests())
    released.set()
    assert eventually(lambda: len(refusals) == 2)
    assert refusals == ["NotTheTrialsError", "APIConnectionError"]
    assert len(bench.sandbox.requests()) == requests
    nothing_but_the_calls_own(bench, own)


def test_the_caller_waits_for_nothing(bench: Bench, tmp_path: Path) -> None:
    """While the caller gets its answer nothing has been copied, written down or asked for the shadow's sake."""
    bench.router.serve = Side.LEGACY
    held = threading.Event()
    shim = troubled(bench, Side.CANDIDATE, before=lambda: held.wait(20))
    with bench.runtime.in_flight:  # so that the shadow lets this go first
        shim(document(tmp_path), bench.storage)
        assert not bench.settings.shim_db.exists()
        assert len(bench.sandbox.requests(bench.provider, "files.create")) == 1
    held.set()
    assert bench.runtime.shadows.drain(60)
    assert bench.observer.comparisons[0].verdict is Verdict.IDENTICAL


def test_no_caller_ever_gets_a_shadows_file(bench: Bench, tmp_path: Path) -> None:
    """While a shadow's row is there, a look-up for the same content finds the call's own row."""
    path, seen = document(tmp_path), list[tuple[object, str, set[str]]]()

    def look() -> None:
        held = bench.state()
        [own] = [row for row, text in held.rows.items() if "shadow-" not in text]
        [shadows] = [text for text in held.rows.values() if "shadow-" in text]
        sha256 = shadows.partition("'sha256', '")[2][:64]
        found = get_storage().find_upload(sha256=sha256, provider=bench.provider)
        seen.append((found.provider_file_id if found else None, own, {shadows}))

    bench.compare(path, bench.storage, serve=Side.CANDIDATE, shim=troubled(bench, Side.LEGACY, after=look))
    [(found, own, [shadows])] = [(found, own, list(rows)) for found, own, rows in seen]
    assert found == own
    assert f"('upload_status', '{SHADOW_STATUS}')" in shadows


def test_leftovers_of_long_ago_are_cleaned_up_by_the_next_trial(make_bench: MakeBench, tmp_path: Path) -> None:
    """No command is needed: a service that is back is tidied up before the next shadow begins."""
    bench = make_bench("kimi", "embedded")
    bench.sandbox.inject(FaultKind.SERVER_ERROR, "kimi", "files.delete", times=None)
    bench.upload(document(tmp_path))
    bench.sandbox.clear_faults()
    assert bench.state().marked
    long_ago(bench)
    bench.upload(document(tmp_path, name="next.txt"))
    assert not bench.state().marked
    assert journal_of(bench.settings).left() == []


def test_undoing_that_takes_too_long_is_left_for_later(
    make_bench: MakeBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that hangs holds no shadow up for ever: a notice says what is left, and it stays in the journal."""
    bench = make_bench("kimi", "embedded")
    monkeypatch.setattr(trial, "UNDO_SECONDS", 0.3)
    bench.sandbox.inject(FaultKind.HANG, "kimi", "files.delete", times=None)
    bench.upload(document(tmp_path))
    [notice] = bench.notices
    assert "was not gone in 0.3 s" in notice
    bench.sandbox.clear_faults()
    assert [each.fate for each in asyncio.run(clean(bench.settings))] == [Fate.REMOVED]
    assert not bench.state().marked


def test_undoing_that_is_cut_off_is_left_for_later(make_bench: MakeBench, tmp_path: Path) -> None:
    """The deadline of the whole comparison may strike while it is undone: that is told, and it stays in the journal."""
    bench = make_bench("kimi", "embedded", limits=ShadowLimits(seconds=1.5))
    bench.sandbox.inject(FaultKind.HANG, "kimi", "files.delete", times=None)
    assert bench.upload(document(tmp_path)).verdict is Verdict.DROPPED
    [notice] = bench.notices
    assert "was cut off" in notice
    bench.sandbox.clear_faults()
    assert [each.fate for each in asyncio.run(clean(bench.settings))] == [Fate.REMOVED]
    assert not bench.state().marked


def test_a_process_that_ends_in_mid_trial_undoes_it(make_bench: MakeBench, tmp_path: Path) -> None:
    """In the time that it has; what was cut off is looked for again by the next process."""
    bench, own = make_bench("kimi", "supabase"), list[Held]()
    begun, released = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        released.wait(20)

    shim = troubled(bench, Side.LEGACY, before=lambda: noted(bench, own), after=wait)
    bench.router.serve = Side.CANDIDATE
    shim(document(tmp_path), bench.storage)
    assert begun.wait(20)
    assert bench.state().marked
    bench.runtime.close(timeout=0.1)
    released.set()
    [comparison] = bench.observer.comparisons
    assert (comparison.verdict, comparison.detail) == (Verdict.DROPPED, "the process is ending")
    nothing_but_the_calls_own(bench, own)
    assert [each.fate for each in asyncio.run(clean(bench.settings))] == [Fate.REMOVED]


def long_ago(bench: Bench) -> None:
    with contextlib.closing(sqlite3.connect(bench.settings.shim_db)) as database, database:
        database.execute("UPDATE undo_intents SET begun = begun - 3600")
