"""What comparing may cost is never exceeded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from migration.shadow.admission import SLOT_SECONDS, WINDOW_SECONDS, HourlyBudget, ShadowCapacity

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
