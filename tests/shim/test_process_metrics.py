"""What a process writes down of itself, and what is read of it."""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from migration import Call, Decision, Reason, Side
from migration.model import CallSite, Operation, Outcome, Role, StoreError
from observability import RecentSpan
from shim import process_metrics as recorder
from shim.process_metrics import KEEP_CALLS, KEEP_SPANS, CallSample, ProcessMetrics, ProcessMetricsReader
from tests.migration.helpers import eventually
from tests.support.samples import write_samples

NAME = "new-thing"


class Memory:
    """A process of constant size."""

    def used(self) -> int:
        """Bytes."""
        return 1000

    def limit(self) -> int:
        """Bytes."""
        return 4000


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "ROUND_SECONDS", 0.02)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "shim.db"


@pytest.fixture
def reader(path: Path) -> ProcessMetricsReader:
    return ProcessMetricsReader(path)


def metrics_at(path: Path, **options: Any) -> ProcessMetrics:
    return ProcessMetrics(path, instance="web-1", memory=Memory(), **options)


def finished(
    metrics: ProcessMetrics,
    *,
    side: Side | None = Side.CANDIDATE,
    role: Role = Role.PRIMARY,
    probability: float = 0.25,
    error: Exception | None = None,
) -> None:
    """Let an operation begin and end under observation."""
    call = Call(
        migration=NAME, function="a:b", call_id="1", args=(), kwargs={},
        site=CallSite(function="f", file="f.py", line=1),
        attributes={"file.size": 10},
    )  # fmt: skip
    decision = Decision(serve=Side.CANDIDATE, probability=probability, reason=Reason.SPLIT, source="file")
    outcome: Outcome[None] = Outcome(side=side or Side.CANDIDATE, seconds=0.5, error=error)
    operation = Operation(call=call, decision=decision, side=side, role=role)
    with metrics.operation(operation):
        operation.outcome = outcome


def span(name: str, trace: str, **others: Any) -> RecentSpan:
    return RecentSpan(
        **{"trace": trace, "span": f"{name}-id", "parent": None, "name": name, "began": 1.0, "seconds": 1.0, **others}
    )


def test_calls_are_written_down(path: Path, reader: ProcessMetricsReader) -> None:
    """Each run that answers a caller, with side, duration and size, or the type of its failure; shadows are not."""
    metrics = metrics_at(path)
    finished(metrics)
    finished(metrics, side=Side.LEGACY, error=ValueError("secret"))
    finished(metrics, role=Role.SHADOW)
    metrics.close()
    first, second = reader.calls(NAME, since=0)
    assert (first.side, first.seconds, first.bytes, first.error) == (Side.CANDIDATE, 0.5, 10, None)
    assert (second.side, second.bytes, second.error) == (Side.LEGACY, 0, "ValueError")
    assert reader.calls("another", since=0) == []
    assert reader.calls(NAME, since=second.at + 1) == []
    assert b"secret" not in path.read_bytes()


def test_the_process_is_sampled(path: Path, reader: ProcessMetricsReader) -> None:
    """Memory, pool and the worst delay since the last sample, each time once."""
    metrics = metrics_at(path, pool=lambda: (3, 64))
    finished(metrics)
    metrics.loop_delayed(0.5)
    metrics.loop_delayed(0.1)
    metrics.close()
    samples = reader.processes(since=0)
    assert samples[0].process == f"web-1:{os.getpid()}"
    assert (samples[0].memory, samples[0].memory_limit) == (1000, 4000)
    assert (samples[0].pool_used, samples[0].pool_limit) == (3, 64)
    assert max(sample.loop_delay or 0 for sample in samples) == 0.5


def test_nothing_is_written_without_a_call(path: Path) -> None:
    """A process that calls nothing leaves no file behind."""
    metrics = metrics_at(path)
    metrics.loop_delayed(1.0)
    metrics.close()
    assert not path.exists()


def test_shares_are_written_down_when_they_change(path: Path, reader: ProcessMetricsReader) -> None:
    """Once for many calls, again when the share is another one, and not again by the next process."""
    for probabilities in ((0.1, 0.1), (0.1, 0.5)):
        metrics = metrics_at(path)
        for probability in probabilities:
            finished(metrics, side=None, probability=probability)
            before = len(reader.processes(since=0))
            assert eventually(lambda before=before: len(reader.processes(since=0)) > before + 1)  # type: ignore[misc]  # bound early
        metrics.close()
    assert [share.percent for share in reader.shares(NAME, since=0)] == [10.0, 50.0]
    last = reader.shares(NAME, since=reader.shares(NAME, since=0)[-1].at + 1)
    assert [share.percent for share in last] == [50.0]


def test_traces_are_found_with_their_shadows(path: Path, reader: ProcessMetricsReader) -> None:
    """A trace by its id, in order, with the traces that are linked to it; lists name roots only."""
    primary, shadow = "a" * 32, "b" * 32
    metrics = metrics_at(path)
    finished(metrics)
    metrics.keep_spans(
        [
            span("child", primary, parent="call-id", began=2.0, attributes={"http.response.status_code": 200}),
            span("call", primary),
            span("shadow", shadow, links=(primary,), failed=True),
            span("inside", shadow, parent="shadow-id", began=3.0),
        ]
    )
    metrics.close()
    assert [each.name for each in reader.trace(primary)] == ["call", "child"]
    assert reader.trace(primary)[1].attributes == {"http.response.status_code": 200}
    assert [each.name for each in reader.shadows_of(primary)] == ["shadow", "inside"]
    assert [each.name for each in reader.roots(limit=9)] == ["call"]
    assert [each.links for each in reader.shadows(limit=9)] == [(primary,)]
    assert reader.trace("c" * 32) == reader.shadows_of(shadow) == []


def test_the_file_is_bounded(path: Path, reader: ProcessMetricsReader) -> None:
    """Of each kind the newest are kept."""
    call = CallSample(at=1.0, migration=NAME, side=Side.LEGACY, seconds=1.0)
    write_samples(path, [call] * (KEEP_CALLS + 100))
    write_samples(path, [span(str(number), "a" * 32) for number in range(KEEP_SPANS + 100)])
    assert len(reader.calls(NAME, since=0)) == KEEP_CALLS
    newest = [each.name for each in reader.roots(limit=KEEP_SPANS * 2)]
    assert len(newest) == KEEP_SPANS
    assert newest[0] == str(KEEP_SPANS + 99)


def test_what_is_too_much_is_counted(path: Path, reader: ProcessMetricsReader, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls beyond the bound of a round are not written down, and the next sample says how many."""
    monkeypatch.setattr("migration.store.writer.MAX_WAITING", 5)
    monkeypatch.setattr(recorder, "ROUND_SECONDS", 0.5)
    metrics = metrics_at(path)
    for _ in range(8):
        finished(metrics)
    metrics.close()
    assert len(reader.calls(NAME, since=0)) == 5
    assert sum(sample.lost for sample in reader.processes(since=0)) == 3


def test_a_file_that_cannot_be_written_hurts_no_call(
    path: Path, reader: ProcessMetricsReader, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said once; when it can be written again, the samples say how much is missing."""
    path.parent.write_text("in the way")
    metrics = metrics_at(path)
    finished(metrics)
    assert eventually(lambda: "calls are unaffected" in caplog.text)
    path.parent.unlink()
    assert eventually(path.exists)
    metrics.close()
    assert caplog.text.count("calls are unaffected") == 1
    assert reader.calls(NAME, since=0) == []
    assert sum(sample.lost for sample in reader.processes(since=0)) >= 1


def test_a_foreign_file_is_left_alone(path: Path, reader: ProcessMetricsReader) -> None:
    """Tables of another program are neither read nor changed, and the error says what to do."""
    path.parent.mkdir()
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE theirs (id INTEGER)")
    database.close()
    with pytest.raises(StoreError, match="move it away"):
        reader.processes(since=0)
    with pytest.raises(StoreError, match="its tables have version 0"):
        write_samples(path, [])


def test_only_the_owner_may_read_it(path: Path) -> None:
    """The file and its folder are the owner's alone."""
    write_samples(path, [])
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_forked_process_writes_its_own(path: Path, reader: ProcessMetricsReader) -> None:
    """The child begins with nothing, and writes down its own calls under its own number."""
    metrics = metrics_at(path)
    finished(metrics)
    assert eventually(lambda: len(reader.calls(NAME, since=0)) == 1)

    def in_child() -> None:
        finished(metrics, side=Side.LEGACY)
        metrics.close()

    child = _forked(in_child)
    metrics.close()
    assert sorted(call.side for call in reader.calls(NAME, since=0)) == [Side.CANDIDATE, Side.LEGACY]
    assert f"web-1:{child}" in {sample.process for sample in reader.processes(since=0)}


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def _forked(work: Callable[[], object]) -> int:
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    return child


def test_several_threads_lose_nothing(
    path: Path, reader: ProcessMetricsReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls that end at the same moment are all there, also those that end while a round is being taken."""
    monkeypatch.setattr(recorder, "ROUND_SECONDS", 0.0)
    metrics = metrics_at(path)

    def call_often() -> None:
        for _ in range(1500):
            finished(metrics)

    threads = [threading.Thread(target=call_often) for _ in range(4)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # threads take turns in the middle of everything
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    metrics.close(timeout=60.0)
    assert len(reader.calls(NAME, since=0)) == 6000
