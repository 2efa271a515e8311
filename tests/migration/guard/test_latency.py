"""What counts as slow."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from migration.guard.watching import (
    ENOUGH_CALLS,
    FORGET_EVERY,
    IMPERCEPTIBLE_SECONDS,
    SIZE_CLASSES,
    LatencyBaseline,
)

durations = st.floats(0.0, 1e6)


def learned(*seconds: float, size: int = 1000) -> LatencyBaseline:
    """A baseline that has seen these legacy calls."""
    baseline = LatencyBaseline()
    for each in seconds:
        baseline.add_legacy(each, size)
    return baseline


def uniform(count: int, *, seed: int = 1, most: float = 1.0) -> list[float]:
    """Durations spread evenly."""
    source = random.Random(seed)
    return [source.uniform(0.1, most) for _ in range(count)]


@given(seconds=durations)
def test_nothing_is_slow_while_too_little_is_known(seconds: float) -> None:
    """Before a hundred legacy calls of a size are known, no call of that size is slow."""
    assert not learned(*[0.1] * (ENOUGH_CALLS - 1)).is_slow(seconds, 1000)
    assert not learned(*[0.1] * ENOUGH_CALLS).is_slow(seconds, 1000 * 64)


@given(first=durations, second=durations)
def test_a_longer_call_is_slow_if_a_shorter_one_is(first: float, second: float) -> None:
    """Slowness is a threshold."""
    baseline = learned(*uniform(300))
    shorter, longer = sorted((first, second))
    assert baseline.is_slow(longer, 1000) or not baseline.is_slow(shorter, 1000)


def test_about_one_legacy_call_in_twenty_is_slow() -> None:
    """Of legacy's own further calls between 3 and 6 in 100 are slow; the steps of ten percent make it inexact."""
    source = random.Random(1)
    baseline = learned(*[source.lognormvariate(0.0, 0.6) for _ in range(1500)])
    slow = sum(baseline.is_slow(source.lognormvariate(0.0, 0.6), 1000) for _ in range(5000))
    assert 150 <= slow <= 300


@given(seconds=st.floats(0.0, IMPERCEPTIBLE_SECONDS, exclude_max=True))
def test_what_is_not_noticeable_is_not_slow(seconds: float) -> None:
    """Where legacy takes a millisecond, a candidate that takes ten is not slow."""
    assert not learned(*[0.001] * 200).is_slow(seconds, 1000)


def test_a_call_does_not_judge_itself() -> None:
    """The threshold stays the same between two looks, so no call is compared with itself."""
    baseline = learned(*[0.1] * ENOUGH_CALLS)
    assert baseline.is_slow(5.0, 1000)
    baseline.add_legacy(5.0, 1000)
    assert baseline.is_slow(5.0, 1000)


def test_the_baseline_follows_slow_changes() -> None:
    """When legacy itself has become slower for some thousand calls, the same duration is no longer slow."""
    baseline = learned(*uniform(FORGET_EVERY))
    assert baseline.is_slow(3.0, 1000)
    for seconds in uniform(2 * FORGET_EVERY, most=4.0):
        baseline.add_legacy(seconds, 1000)
    assert not baseline.is_slow(3.0, 1000)


@given(st.lists(st.tuples(durations, st.integers(-1, 2**60)), max_size=300))
def test_the_baseline_is_bounded(calls: list[tuple[float, int]]) -> None:
    """Whatever is counted, there are at most so many sizes, and so many steps of each."""
    baseline = LatencyBaseline()
    for seconds, size in calls:
        baseline.add_legacy(seconds, size)
    assert len(baseline._classes) <= SIZE_CLASSES
    assert all(len(each.counts) <= 251 for each in baseline._classes.values())
