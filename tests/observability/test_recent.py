"""Finished spans for a neighbour."""

from __future__ import annotations

import io

from opentelemetry.sdk.trace.sampling import Decision

from observability import RecentSpan, Telemetry, setup
from observability.exporters import TRACES_A_SECOND, FewTracesSampler
from tests.observability.making import NAME, call_operation, run, side_operation


def test_spans_are_handed_over_with_their_links() -> None:
    """A call, its run and its shadow arrive as plain values; the shadow names the trace that it is linked to."""
    kept: list[RecentSpan] = []
    handle = setup(environ={}, keep_spans=kept.extend)
    telemetry = Telemetry(handle)
    whole, side = call_operation(), side_operation()
    with telemetry.operation(whole):
        run(telemetry, side, error=TimeoutError())
        whole.outcome = side.outcome
    assert side.trace is not None
    run(telemetry, side_operation(link=side.trace))
    handle.shutdown()
    by_name = {(span.name, bool(span.links)): span for span in kept}
    call, inner, shadow = by_name[NAME, False], by_name[f"{NAME} candidate", False], by_name[f"{NAME} candidate", True]
    assert (call.parent, inner.parent, shadow.parent) == (None, call.span, None)
    assert inner.trace == call.trace
    assert shadow.trace != call.trace
    assert shadow.links == (call.trace,)
    assert inner.failed
    assert not shadow.failed
    assert inner.attributes["error.type"] == "TimeoutError"
    assert inner.began >= call.began > 1.6e9
    assert inner.seconds <= call.seconds


def test_a_busy_process_hands_over_a_few_traces() -> None:
    """Of many calls of a second the first few are recorded, whole; the others cost next to nothing."""
    kept: list[RecentSpan] = []
    handle = setup(environ={}, keep_spans=kept.extend)
    telemetry = Telemetry(handle)
    for _ in range(100):
        run(telemetry, call_operation())
    handle.shutdown()
    assert TRACES_A_SECOND <= len(kept) <= 3 * TRACES_A_SECOND  # the calls may lie in more than one second


def test_others_receive_what_they_did() -> None:
    """Where an exporter receives all spans, a neighbour does not make them fewer."""
    kept: list[RecentSpan] = []
    printed = io.StringIO()
    handle = setup(environ={}, keep_spans=kept.extend, console=printed)
    telemetry = Telemetry(handle)
    for _ in range(20):
        run(telemetry, call_operation())
    handle.shutdown()
    assert len(printed.getvalue().splitlines()) == len(kept) == 20


def test_each_second_begins_again() -> None:
    """The sampler keeps as many traces of every second."""
    now = 0.0
    sampler = FewTracesSampler(clock=lambda: now)
    for second in range(3):
        now = float(second)
        kept = [
            sampler.should_sample(None, 1, "a").decision is Decision.RECORD_AND_SAMPLE
            for _ in range(TRACES_A_SECOND + 3)
        ]
        assert kept == [True] * TRACES_A_SECOND + [False] * 3
