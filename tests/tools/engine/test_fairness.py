"""Fair turns: between classes of size by cost, within a class by arrival."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, pairwise

from hypothesis import given
from hypothesis import strategies as st

from tools.engine.limiter import CLASS_BOUNDS, CLASSES, LONGEST, FairQueue, class_of, cost_of
from tools.settings import MEGABYTE

SIZES = st.sampled_from([0, 20_000, CLASS_BOUNDS[0], CLASS_BOUNDS[0] + 1, CLASS_BOUNDS[1], 100 * MEGABYTE])
STEPS = st.lists(st.one_of(st.none(), SIZES), max_size=200)
"""A size queues up; None takes the next one."""


@given(STEPS)
def test_two_classes_that_wait_start_as_much_as_each_other(steps: list[int | None]) -> None:
    """While both have a request waiting, what they start never drifts apart by more than one upload of each."""
    queue: FairQueue[tuple[int, int]] = FairQueue()
    waiting, started, costliest = [0] * len(CLASSES), [0] * len(CLASSES), [0] * len(CLASSES)
    drifts: dict[tuple[int, int], list[int]] = {}
    for number, size in enumerate(steps):
        if size is not None:
            queue.put((number, size), size)
            waiting[class_of(size)] += 1
            costliest[class_of(size)] = max(costliest[class_of(size)], cost_of(size))
        elif (taken := queue.take()) is not None:
            waiting[class_of(taken[1])] -= 1
            started[class_of(taken[1])] += cost_of(taken[1])
        for pair in combinations(CLASSES, 2):
            if not (waiting[pair[0]] and waiting[pair[1]]):
                drifts.pop(pair, None)
                continue
            seen = drifts.setdefault(pair, [])
            seen.append(started[pair[0]] - started[pair[1]])
            assert max(seen) - min(seen) <= costliest[pair[0]] + costliest[pair[1]]


@given(STEPS)
def test_within_a_class_it_is_first_come_first_served_and_everyone_has_a_turn(steps: list[int | None]) -> None:
    """No request is lost, served twice, or overtaken by one of its class."""
    queue: FairQueue[tuple[int, int]] = FairQueue()
    put: list[tuple[int, int]] = []
    taken: list[tuple[int, int]] = []
    for number, size in enumerate([*steps, *[None] * len(steps)]):
        if size is not None:
            queue.put((number, size), size)
            put.append((number, size))
        elif (item := queue.take()) is not None:
            taken.append(item)
        assert len(queue) == len(put) - len(taken)
    assert sorted(taken) == put
    for number in CLASSES:
        members = [item for item in taken if class_of(item[1]) == number]
        assert members == sorted(members)


def test_a_thousand_short_ones_and_five_long_ones_share(say: Callable[[str], None]) -> None:
    """Long ones that come last begin one by one between the short ones: neither waits for the end of the other."""
    queue: FairQueue[int] = FairQueue()
    for number in range(1000):
        queue.put(number, 20_000)
    for number in range(1000, 1005):
        queue.put(number, 100 * MEGABYTE)
    order = [queue.take() for _ in range(1005)]
    turns = [order.index(number) for number in range(1000, 1005)]
    say(f"turns of five uploads of 100 MB that queue behind 1000 of 20 KB: {turns}")
    assert turns[0] <= 1
    assert all(80 <= later - earlier <= 120 for earlier, later in pairwise(turns))


def test_absence_earns_no_credit() -> None:
    """A class that comes late does not get what it missed."""
    queue: FairQueue[str] = FairQueue()
    for number in range(300):
        queue.put(f"short {number}", 1)
    for _ in range(200):
        queue.take()
    for number in range(3):
        queue.put(f"long {number}", 100 * MEGABYTE)
    order = [queue.take() for _ in range(60)]
    assert sum(item is not None and item.startswith("long") for item in order) == 1


def test_who_leaves_costs_nothing_and_classes_can_be_left_out() -> None:
    """A cancelled upload is not charged to its class; one that is not allowed keeps its turn."""
    queue: FairQueue[str] = FairQueue()
    queue.put("gone", 100 * MEGABYTE)
    queue.put("long", 100 * MEGABYTE)
    queue.put("short", 1)
    queue.discard("gone", 100 * MEGABYTE)
    queue.discard("never there", 1)
    assert queue.take(CLASSES[:LONGEST]) == "short"
    assert queue.take(CLASSES[:LONGEST]) is None
    assert queue.take() == "long"
    assert queue.take() is None
