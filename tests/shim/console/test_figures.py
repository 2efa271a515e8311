"""The console's figures are those of the calls."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration import Side
from migration.guard import BadCall, DecisionRecord, GuardStore, Signal
from shim.console.figures import (
    BUCKETS,
    FOLLOWED_CALLS,
    MOST_PROCESSES,
    POINTS,
    EvidenceCurves,
    curve_of,
    percentile,
    process_lines,
    side_figures,
    thinned,
    timeline,
)
from shim.process_metrics import CallSample, ProcessMetricsReader, ProcessSample
from tests.support.samples import write_samples

NAME = "new-thing"

durations = st.lists(st.floats(min_value=0, max_value=1e4), min_size=1, max_size=200)


def call(*, at: float = 100.0, side: Side = Side.LEGACY, seconds: float = 1.0, error: str | None = None) -> CallSample:
    return CallSample(at=at, migration=NAME, side=side, seconds=seconds, bytes=0 if error else 10, error=error)


@given(durations, st.floats(min_value=0.001, max_value=1))
def test_a_percentile_is_a_value_that_was_measured(values: list[float], share: float) -> None:
    """It is one of the values; that share does not exceed it, and would exceed any smaller one."""
    found = percentile(sorted(values), share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9
    assert sum(value < found for value in values) < share * len(values) or found == min(values)


def test_figures_of_a_side() -> None:
    """Calls, failures by type, success, median, 99th percentile and bytes."""
    calls = [call(seconds=float(number)) for number in range(1, 100)] + [call(seconds=500.0, error="TimeoutError")]
    assert side_figures(calls) == {
        "calls": 100, "failed": 1, "success": 0.99, "median": 50.0, "p99": 99.0, "bytes": 990, "last_at": 100.0,
        "errors": {"TimeoutError": 1},
    }  # fmt: skip


def test_a_side_without_calls_has_no_figures() -> None:
    """What is not known is not zero."""
    figures = side_figures([])
    assert [figures[name] for name in ("success", "median", "p99", "last_at")] == [None] * 4


@given(
    st.lists(st.tuples(st.floats(min_value=1000, max_value=1899.9), st.sampled_from(Side)), max_size=100),
    st.sampled_from([120.0, 900.0]),
)
def test_every_call_is_in_one_step(calls: list[tuple[float, Side]], window: float) -> None:
    """Over time there are as many calls as there were, each in the step in which it ended."""
    inside = [call(at=at, side=side) for at, side in calls if at >= 1900 - window]
    lines = timeline(inside, start=1900 - window, window=window)
    at = lines["at"]
    assert isinstance(at, list)
    assert len(at) == BUCKETS + 1
    for side in Side:
        line = lines[side.value]
        assert isinstance(line, dict)
        assert sum(line["calls"]) == sum(each.side is side for each in inside)
        for number, count in enumerate(line["calls"]):
            assert (line["median"][number] is None) == (count == 0)


def bad(number: int) -> BadCall:
    return BadCall(
        at=float(number), signals=frozenset({Signal.ERROR}), on_candidate=number % 3 != 0, probability=0.5, kind="x"
    )


def test_the_curve_follows_the_file(tmp_path: Path) -> None:
    """Read in one go or as it comes, it ends at the evidence that the guard has; a resumption begins it again."""
    store = GuardStore(tmp_path / "shim.db")
    following = EvidenceCurves(store)
    for number in range(1, 31):
        store.add_calls([(NAME, 0, bad(number))], process="p")
        following.curve(NAME, epoch=0)
    curve = following.curve(NAME, epoch=0)
    evidence, _ = store.recall(migration=NAME, epoch=0)
    assert curve == EvidenceCurves(store).curve(NAME, epoch=0)
    assert curve["total"] == evidence.total
    assert curve["calls"] == 30
    points = curve["points"]
    assert isinstance(points, list)
    assert points[-1] == (30.0, evidence.total)
    store.release(DecisionRecord(at=31.0, migration=NAME, action="resume", by="me", sentence="on."))
    assert following.curve(NAME, epoch=1)["points"] == []


def test_what_is_kept_as_a_sum_counts(tmp_path: Path) -> None:
    """Where the oldest bad calls were summed up, the curve begins at their sum and ends where the guard is."""
    store = GuardStore(tmp_path / "shim.db")
    store.add_calls([(NAME, 0, bad(number)) for number in range(FOLLOWED_CALLS + 2_000)], process="p")
    evidence, _ = store.recall(migration=NAME, epoch=0)
    curve = EvidenceCurves(store).curve(NAME, epoch=0)
    assert curve["total"] == pytest.approx(evidence.total)
    assert curve["calls"] == FOLLOWED_CALLS + 2_000
    points = curve["points"]
    assert isinstance(points, list)
    assert len(points) <= POINTS


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e6)), max_size=2000))
def test_thinning_keeps_the_peak_and_the_end(points: list[tuple[float, float]]) -> None:
    """Of however many points a bounded number is left, the highest and the last among them."""
    left = thinned(points)
    assert len(left) <= POINTS
    if points:
        assert left[-1] == points[-1]
        assert max(value for _, value in left) == max(value for _, value in points)


def test_a_decision_without_evidence_has_no_curve() -> None:
    """A roll-back by hand rests on no figures."""
    assert curve_of(DecisionRecord(at=1.0, migration=NAME, action="rollback", by="me", sentence="back.")) == []


def test_processes_heard_of_last_are_shown(tmp_path: Path) -> None:
    """Of many processes the latest, each with its worst value of each step; how many are left out is said."""
    path = tmp_path / "shim.db"
    samples = [
        ProcessSample(at=1000.0 + number + moment / 10, process=f"web:{number}", memory=100 + moment, memory_limit=999)
        for number in range(MOST_PROCESSES + 2)
        for moment in range(5)
    ]
    write_samples(path, samples)
    found = process_lines(ProcessMetricsReader(path), start=0.0, window=900.0)
    lines = found["lines"]
    assert isinstance(lines, dict)
    assert len(lines) == MOST_PROCESSES
    assert "web:0" not in lines
    assert found["left_out"] == 2
    assert max(lines["web:9"]["memory"]) == 104
    assert all(value is None for value in lines["web:9"]["loop_delay"])
    assert all(math.fmod(at, 900.0 / BUCKETS) == 0 for at in lines["web:9"]["at"])
