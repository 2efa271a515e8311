"""Shadows keep out of the way of callers, and run in the end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration.running.in_flight import InFlightCalls
from migration.shadow.admission import MOST_CREDIT, SILENCE_SECONDS, AdmissionControl


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
