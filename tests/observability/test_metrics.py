from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Thread
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration import Comparison, Side
from migration.model import Notice, NoticeKind, Verdict
from migration.threads import BackgroundThread
from observability import HttpTelemetry, Telemetry, TelemetryHandle
from observability.names import OTHER, Attribute, BoundedValues, Metric
from observability.testing import Capture
from tests.observability.making import NAME, a_call, a_decision, call_operation, run, side_operation


def labelled(capture: Capture, metric: str) -> list[dict[str, Any]]:
    return [dict(labels) for labels, _ in capture.points(metric)]


def only_point(capture: Capture, metric: str) -> Any:
    ((_, point),) = capture.points(metric)
    return point


def test_duration_of_a_run(telemetry: Telemetry, capture: Capture) -> None:
    """A run is measured in seconds as its outcome says, under implementation, role, provider and migration."""
    run(telemetry, side_operation(Side.CANDIDATE), seconds=2.5)
    ((labels, point),) = capture.points(Metric.OPERATION_DURATION)
    assert (point.sum, point.count) == (2.5, 1)
    assert labels == {
        "migration.side": "candidate",
        "migration.role": "primary",
        "upload.provider": "kimi",
        "migration.name": NAME,
    }


def test_success_and_failure_share_a_histogram(telemetry: Telemetry, capture: Capture) -> None:
    """Failures differ from successes by `error.type` alone, so that the success rate can be derived."""
    run(telemetry, side_operation())
    run(telemetry, side_operation(), error=TimeoutError())
    ok, failed = sorted(labelled(capture, Metric.OPERATION_DURATION), key=len)
    assert failed == {**ok, Attribute.ERROR_TYPE: "TimeoutError"}


def test_call_is_not_counted_twice(telemetry: Telemetry, capture: Capture) -> None:
    """Only runs of a side are in the histogram; the call around them is not."""
    whole = call_operation()
    with telemetry.operation(whole):
        side = side_operation()
        run(telemetry, side)
        whole.outcome = side.outcome
    assert only_point(capture, Metric.OPERATION_DURATION).count == 1


def test_interrupted_run_is_measured(telemetry: Telemetry, capture: Capture) -> None:
    """A run that was interrupted before it had an outcome counts as a failure and is no longer active."""
    with pytest.raises(KeyboardInterrupt), telemetry.operation(side_operation()):
        raise KeyboardInterrupt
    ((labels, _),) = capture.points(Metric.OPERATION_DURATION)
    assert labels[Attribute.ERROR_TYPE] == "KeyboardInterrupt"
    assert only_point(capture, Metric.ACTIVE_OPERATIONS).value == 0


def test_runs_in_flight(telemetry: Telemetry, capture: Capture) -> None:
    """Runs are counted from beginning to end."""
    with telemetry.operation(side_operation()), telemetry.operation(side_operation()):
        assert only_point(capture, Metric.ACTIVE_OPERATIONS).value == 2
    assert only_point(capture, Metric.ACTIVE_OPERATIONS).value == 0


def test_runs_in_flight_on_many_threads(telemetry: Telemetry, capture: Capture) -> None:
    """No change of the number gets lost between threads."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: run(telemetry, side_operation()), range(400)))
    assert only_point(capture, Metric.ACTIVE_OPERATIONS).value == 0
    assert only_point(capture, Metric.OPERATION_DURATION).count == 400


def test_file_size(telemetry: Telemetry, capture: Capture) -> None:
    """The size of the file is measured in bytes, once a call."""
    run(telemetry, call_operation(size=50_000_000))
    point = only_point(capture, Metric.FILE_SIZE)
    assert (point.sum, point.count) == (50_000_000, 1)


def test_verdicts(telemetry: Telemetry, capture: Capture) -> None:
    """Every verdict has a counter of its own."""
    for verdict in Verdict:
        telemetry.compared(Comparison(call=a_call(), decision=a_decision(), verdict=verdict))
    counted = {labels[Attribute.VERDICT]: point.value for labels, point in capture.points(Metric.SHADOW_COMPARISONS)}
    assert counted == dict.fromkeys(map(str, Verdict), 1)


def test_fallbacks(telemetry: Telemetry, capture: Capture) -> None:
    """Fallbacks are counted among the notices."""
    for _ in range(3):
        telemetry.noticed(Notice(kind=NoticeKind.FELL_BACK, migration=NAME, text="-"))
    ((labels, point),) = capture.points(Metric.NOTICES)
    assert (labels, point.value) == ({"migration.name": NAME, "migration.notice.kind": "fell_back"}, 3)


def test_memory_of_the_process(telemetry: Telemetry, capture: Capture) -> None:
    """Resident memory is read at each collection, in bytes."""
    assert telemetry is not None
    assert only_point(capture, Metric.PROCESS_MEMORY).value > 10_000_000


def test_pool(handle: TelemetryHandle, capture: Capture) -> None:
    """The pool shows its limit, what is in use, the share of it, and how long requests waited."""
    http = HttpTelemetry(handle)
    assert capture.points(Metric.POOL_UTILIZATION) == []
    http.pool_limit(connections=8)
    for change in (1, 1, 1, -1):
        http.pool_in_use(change=change)
    http.pool_waited(seconds=0.25)
    assert only_point(capture, Metric.POOL_LIMIT).value == 8
    assert only_point(capture, Metric.POOL_USAGE).value == 2
    assert only_point(capture, Metric.POOL_UTILIZATION).value == 0.25
    assert only_point(capture, Metric.POOL_WAIT).sum == 0.25


def test_error_types_are_bounded(telemetry: Telemetry, capture: Capture) -> None:
    """Ever new exception types make a bounded number of time series, and no failure goes uncounted."""
    for number in range(200):
        run(telemetry, side_operation(), error=type(f"Error{number}", (Exception,), {})())
    points = capture.points(Metric.OPERATION_DURATION)
    assert len(points) == 51
    assert sum(point.count for _, point in points) == 200
    assert sum(point.count for labels, point in points if labels[Attribute.ERROR_TYPE] == OTHER) == 150


def test_troubled_threads_are_counted(
    monkeypatch: pytest.MonkeyPatch, handle: TelemetryHandle, capture: Capture
) -> None:
    """A background thread that the system refuses shows up under its name, and one without trouble does not."""

    def refuse(_: Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(Thread, "start", refuse)
        assert not BackgroundThread(int, name="refused-thread").start()
    assert handle.enabled
    labels = {Attribute.THREAD_NAME: "refused-thread", Attribute.THREAD_PROBLEM: "refused"}
    assert labels in labelled(capture, Metric.THREAD_PROBLEMS)


def test_providers_and_migrations_are_bounded(telemetry: Telemetry, capture: Capture) -> None:
    """So do ever new providers and migrations, in every metric."""
    for number in range(200):
        run(telemetry, side_operation(provider=f"p{number}", migration=f"m{number}"))
        run(telemetry, call_operation(provider=f"p{number}", migration=f"m{number}"))
        telemetry.noticed(Notice(kind=NoticeKind.BLOCKED_EVENT_LOOP, migration=f"m{number}", text="-"))
    for metric in (Metric.OPERATION_DURATION, Metric.FILE_SIZE, Metric.ACTIVE_OPERATIONS, Metric.NOTICES):
        assert len(labelled(capture, metric)) == 51


@given(st.lists(st.text(max_size=3)), st.integers(0, 5))
def test_bounded_values(values: list[str], limit: int) -> None:
    """The first `limit` distinct values stay themselves for ever, and every other is `_OTHER`."""
    bounded = BoundedValues(limit)
    kept = set(list(dict.fromkeys(values))[:limit])
    for value in [*values, *values]:
        assert bounded(value) == (value if value in kept else OTHER)
