"""The adaptive limit: a little more after success, half after a refusal, once a round trip."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.engine.limiter import FIRST_LIMIT, AdaptiveLimit

EVENTS = st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()))
"""Success or refusal; of this generation or of an old one; with the limit used in full or not."""


def _tell(limit: AdaptiveLimit, *, success: bool, late: bool, in_full: bool) -> None:
    generation = limit.generation - (1 if late else 0)
    if success:
        limit.succeeded(generation, in_full=in_full)
    else:
        limit.refused(generation)


@given(EVENTS, st.integers(1, 50), st.integers(1, 50))
def test_the_limit_stays_between_one_and_its_ceiling(
    events: list[tuple[bool, bool, bool]], ceiling: int, first: int
) -> None:
    """Whatever happens; and each event moves it up by one at most, or down to half."""
    limit = AdaptiveLimit(ceiling=ceiling, first=first)
    for success, late, in_full in events:
        before = limit.current
        _tell(limit, success=success, late=late, in_full=in_full)
        assert 1 <= limit.current <= ceiling
        assert limit.current in ({before, before + 1} if success else {before, max(1, before // 2)})


@given(EVENTS, st.integers(1, 40))
def test_neighbours_that_fail_together_lower_it_once(events: list[tuple[bool, bool, bool]], neighbours: int) -> None:
    """All that began in one round trip count as one refusal, and their late successes raise nothing."""
    limit = AdaptiveLimit(ceiling=40)
    for success, late, in_full in events:
        _tell(limit, success=success, late=late, in_full=in_full)
    before, generation = limit.current, limit.generation
    for _ in range(neighbours):
        limit.refused(generation)
        limit.succeeded(generation, in_full=True)
    assert limit.current == max(1, before // 2)


def test_it_doubles_with_every_round_trip_until_it_is_refused_for_the_first_time() -> None:
    """A provider without a limit is soon used as far as the configuration allows."""
    limit = AdaptiveLimit(ceiling=64)
    assert limit.current == FIRST_LIMIT == 8
    for expected in (16, 32, 64, 64):
        for _ in range(limit.current):
            limit.succeeded(0, in_full=True)
        assert limit.current == expected


def test_after_a_refusal_it_grows_by_one_a_window() -> None:
    """From 4 it takes four successes to 5 and five to 6; the number that was refused is tried after a longer while."""
    limit = AdaptiveLimit(ceiling=64)
    limit.refused(0)
    steps = []
    for _ in range(4):
        before, count = limit.current, 0
        while limit.current == before:
            limit.succeeded(1, in_full=True)
            count += 1
        steps.append(count)
    assert steps == [4, 5, 6, 7 * 8]
    assert limit.current == 8


def test_what_was_not_used_in_full_proves_nothing() -> None:
    """A single upload at a time, however often, does not show that more would do."""
    limit = AdaptiveLimit(ceiling=64)
    for _ in range(1000):
        limit.succeeded(0, in_full=False)
    assert limit.current == FIRST_LIMIT


@pytest.mark.parametrize(("ceiling", "first"), [(0, 1), (1, 0), (-3, 8)])
def test_a_limit_below_one_is_refused(ceiling: int, first: int) -> None:
    """A limit of 0 would let no request pass."""
    with pytest.raises(ValueError, match="at least 1"):
        AdaptiveLimit(ceiling=ceiling, first=first)
