"""What telemetry tells of calls in which both sides differ: counted by field, and always visible."""

from __future__ import annotations

from pathlib import Path

import pytest

from migration import Comparison, Migration, Runtime, ShadowLimits, Side
from migration.model import Difference, Verdict
from migration.routing import Shim
from migration.store import Ledger
from observability import Telemetry, setup
from observability.names import OTHER, Attribute, Event, Metric
from observability.testing import Capture
from tests.observability.making import NAME, FixedRouter, HarmlessReplay, a_call, a_decision

CALLS = 300


def compared(verdict: Verdict, *fields: str) -> Comparison:
    found = tuple(Difference(field=field, legacy="1", candidate="2") for field in fields)
    return Comparison(call=a_call(), decision=a_decision(), verdict=verdict, differences=found)


def by_field(capture: Capture) -> dict[tuple[str, str], int]:
    return {
        (labels[Attribute.DIFFERENT_FIELD], labels[Attribute.VERDICT]): point.value
        for labels, point in capture.points(Metric.SHADOW_DIFFERENCES)
    }


def test_differences_are_counted_by_field(telemetry: Telemetry, capture: Capture) -> None:
    """One comparison counts once for a field, under however many indexes it differs."""
    telemetry.compared(compared(Verdict.DIFFERENT, "requests[0].path", "requests[1].path", "result.id"))
    telemetry.compared(compared(Verdict.DIFFERENT, "requests[7].path"))
    telemetry.compared(compared(Verdict.IDENTICAL))
    telemetry.compared(compared(Verdict.DROPPED, "result.id"))
    assert by_field(capture) == {("requests[*].path", "different"): 2, ("result.id", "different"): 1}


def test_an_error_of_one_side_counts_once(telemetry: Telemetry, capture: Capture) -> None:
    """That nothing of its result is there is no difference of its own."""
    telemetry.compared(compared(Verdict.CANDIDATE_ERROR, "result.id", "requests.count", "error.type", "error.text"))
    assert by_field(capture) == {("error.type", "candidate_error"): 1}


def test_fields_are_bounded(telemetry: Telemetry, capture: Capture) -> None:
    """Ever new fields make a bounded number of time series, and none goes uncounted."""
    for number in range(200):
        telemetry.compared(compared(Verdict.DIFFERENT, f"result.'key {number}'"))
    counts = by_field(capture)
    assert len(counts) == 51
    assert sum(counts.values()) == 200
    assert counts[OTHER, "different"] == 150


@pytest.mark.parametrize("verdict", [Verdict.NOISY, Verdict.IGNORED, Verdict.SAME_ERROR])
def test_what_needs_no_look_is_no_event(telemetry: Telemetry, capture: Capture, verdict: Verdict) -> None:
    """Known noise and excused differences are counted, and raise no alarm."""
    telemetry.compared(compared(verdict, "result.id"))
    assert capture.events(Event.SHADOW_COMPARED) == []
    assert len(capture.points(Metric.SHADOW_COMPARISONS)) == 1


def test_a_sampler_hides_no_difference(tmp_path: Path) -> None:
    """With one trace in a hundred kept, each differing pair is an event and a row with both trace ids.

    Whether its spans were sent, both traces say; and of the pairs whose spans were, both traces are there.
    """
    capture, ledger = Capture(), Ledger(tmp_path / "shim.db")
    environ = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.01"}
    handle = setup(environ=environ, capture=capture)

    async def candidate(number: int) -> int:
        return number + 1

    runtime = Runtime(
        router=FixedRouter(a_decision(serve=Side.LEGACY, shadow=True)),
        observers=[Telemetry(handle), ledger],
        shadow_limits=ShadowLimits(waiting=CALLS),
    )
    shim = Shim(Migration(name=NAME, candidate=candidate, replay=HarmlessReplay()), lambda number: number, runtime)
    for number in range(CALLS):
        shim(number)
    assert runtime.shadows.drain(60)
    runtime.close()
    handle.shutdown()
    assert ledger.flush()

    rows = {(row.primary_trace, row.shadow_trace) for row in ledger.comparisons(verdicts=[Verdict.DIFFERENT])}
    events = {
        ((event.attributes or {})[Attribute.PRIMARY_TRACE], (event.attributes or {})[Attribute.SHADOW_TRACE])
        for event in capture.events(Event.SHADOW_COMPARED)
    }
    assert len(rows) == CALLS
    assert events == rows
    kept = {f"{span.context.trace_id:032x}" for span in capture.spans() if span.context}
    assert len(kept) < CALLS
    for pair in rows:
        said = {bool(int(str(trace).rpartition("-")[2], 16) & 1) for trace in pair}
        assert {str(trace).split("-")[1] in kept for trace in pair} == said
        assert len(said) == 1
