"""Admission control: what shadows may cost, and how many calls they may overlap with."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration.running.in_flight import InFlightCalls
from migration.shadow.admission import (
    MOST_CREDIT,
    SILENCE_SECONDS,
    SLOT_SECONDS,
    WINDOW_SECONDS,
    AdmissionControl,
    HourlyBudget,
    ShadowCapacity,
)


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


def make_calls(calls: InFlightCalls, number: int) -> None:
    for _ in range(number):
        with calls:
            pass


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def calls() -> InFlightCalls:
    return InFlightCalls()


@given(rounds=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 30), st.booleans()), min_size=1, max_size=30))
def test_few_calls_meet_a_shadow(rounds: list[tuple[int, int, bool]]) -> None:
    """However calls and shadows alternate: beyond one shadow's and the credit, no more calls meet one than allowed."""
    calls, share, met, largest = InFlightCalls(), 0.01, 0, 0
    admission = AdmissionControl(calls, share=share, yield_seconds=1.0, now=Clock())
    for before, during, beside in rounds:
        make_calls(calls, before)
        if admission.allows(since=-10.0 if beside else 0.0):
            with admission.running():
                make_calls(calls, during)
            met, largest = met + during, max(largest, during)
    assert met <= share * calls.begun + MOST_CREDIT + largest


def test_shadows_that_meet_nobody_are_not_limited(calls: InFlightCalls, clock: Clock) -> None:
    """Between calls, one after the other may run."""
    admission = AdmissionControl(calls, share=0.001, yield_seconds=1.0, now=clock)
    for _ in range(100):
        assert admission.allows(since=clock.at)
        with admission.running():
            clock.at += 0.1


def test_a_shadow_waits_for_those_under_way_and_then_needs_credit(calls: InFlightCalls, clock: Clock) -> None:
    """While a call is in flight, a shadow yields for a limited time; then one that costs credit may begin."""
    admission = AdmissionControl(calls, share=0.01, yield_seconds=1.0, now=clock)
    with calls:
        assert not admission.allows(since=clock.at)
        clock.at += 1.0
        assert admission.allows(since=0.0)
        with admission.running():
            make_calls(calls, 2)
        assert not admission.allows(since=0.0)
        make_calls(calls, 400)
        assert admission.allows(since=0.0)


def test_a_long_silence_is_for_shadows(calls: InFlightCalls, clock: Clock) -> None:
    """Without credit, a shadow begins when no call has come for a while; a call starts the wait again."""
    admission = AdmissionControl(calls, share=0.001, yield_seconds=1.0, now=clock)
    with admission.running():
        make_calls(calls, 50)
    assert not admission.allows(since=0.0)
    clock.at += SILENCE_SECONDS / 2
    make_calls(calls, 1)
    assert not admission.allows(since=0.0)
    clock.at += SILENCE_SECONDS * 0.9
    assert not admission.allows(since=0.0)
    clock.at += SILENCE_SECONDS * 0.2
    assert admission.allows(since=0.0)


def test_without_a_limit_yielding_alone_counts(calls: InFlightCalls, clock: Clock) -> None:
    """A share of 1 means that every call may meet a shadow."""
    admission = AdmissionControl(calls, share=1.0, yield_seconds=1.0, now=clock)
    with admission.running():
        make_calls(calls, 1000)
    assert admission.allows(since=clock.at)
    with calls:
        assert not admission.allows(since=clock.at)
        clock.at += 1.0
        assert admission.allows(since=0.0)


# What comparing may cost is never exceeded.

STEPS = st.lists(st.tuples(st.floats(0, 2000), st.integers(0, 120)), max_size=60)


@given(steps=STEPS)
def test_no_hour_has_more_than_its_budget(steps: list[tuple[float, int]]) -> None:
    """Whenever and however much is asked for: in any hour at most the limit is granted."""
    clock = [0.0]
    budget = HourlyBudget(200, lambda: clock[0])
    granted: list[tuple[float, int]] = []
    for pause, size in steps:
        clock[0] += pause
        if budget.take(size):
            granted.append((clock[0], size))
    for start, _ in granted:
        assert sum(size for at, size in granted if start <= at < start + WINDOW_SECONDS) <= 200


@given(steps=STEPS)
def test_what_was_used_is_free_again_after_the_hour(steps: list[tuple[float, int]]) -> None:
    """An hour and a minute after the last use everything may be used, and little is remembered meanwhile."""
    clock = [0.0]
    budget = HourlyBudget(200, lambda: clock[0])
    for pause, size in steps:
        clock[0] += pause
        budget.take(size)
        assert len(budget._slots) <= WINDOW_SECONDS / SLOT_SECONDS + 1
    clock[0] += WINDOW_SECONDS + SLOT_SECONDS
    assert budget.take(200)
    assert not budget.take(1)


@given(sizes=st.lists(st.integers(0, 60), max_size=40), data=st.data())
def test_room_is_bounded_in_number_and_in_bytes(sizes: list[int], data: st.DataObject) -> None:
    """In any order of coming and going; when all have gone, all capacity is there again."""
    capacity = ShadowCapacity(5, 100)
    inside: list[int] = []
    for size in sizes:
        if data.draw(st.booleans()) and inside:
            capacity.release(inside.pop())
        refusal = capacity.acquire(size)
        assert (refusal is None) == (len(inside) < 5 and sum(inside) + size <= 100)
        if refusal is None:
            inside.append(size)
        assert (capacity.taken, capacity.bytes) == (len(inside), sum(inside))
    for size in inside:
        capacity.release(size)
    assert (capacity.taken, capacity.bytes) == (0, 0)
