"""Long steps do not pile up on an event loop."""

from __future__ import annotations

import asyncio
import time

import pytest

from tools.transport.writing import MAX_SKIPPED_TURNS, TURN_SECONDS, LoopThrottle


def _step() -> None:
    end = time.perf_counter() + TURN_SECONDS * 2
    while time.perf_counter() < end:
        pass


async def test_the_loop_turns_between_the_steps_of_a_crowd() -> None:
    """However many want to do something long at the same moment, everyone else is served after each step."""
    turns, steps, between = LoopThrottle(), 0, []

    async def work() -> None:
        nonlocal steps
        await turns.take()
        _step()
        steps += 1

    async def watch() -> None:
        while steps < 20:
            before = steps
            await asyncio.sleep(0)
            between.append(steps - before)

    await asyncio.gather(watch(), *(work() for _ in range(20)))
    assert max(between) <= 2  # one that found the time free, one that was called


async def test_no_step_is_added_to_turns_that_are_long_by_themselves() -> None:
    """Handshakes come first, but not for ever: after a few such turns there is a step all the same."""
    turns, long_turns = LoopThrottle(), 0
    taking = asyncio.create_task(turns.take())
    await turns.take()
    _step()
    while not taking.done():
        await asyncio.sleep(0)
        _step()
        long_turns += 1
    assert MAX_SKIPPED_TURNS <= long_turns <= MAX_SKIPPED_TURNS + 3


async def test_who_is_alone_does_not_wait() -> None:
    """Steps that fit into the time follow each other without a turn of the loop."""
    turns = LoopThrottle()
    await turns.take()
    reached: list[bool] = []
    asyncio.get_running_loop().call_soon(reached.append, True)
    await turns.take()
    assert reached == []


async def test_turns_are_taken_in_order() -> None:
    """First come, first served."""
    turns, served = LoopThrottle(), []

    async def work(number: int) -> None:
        await turns.take()
        _step()
        served.append(number)

    await asyncio.gather(*(work(number) for number in range(10)))
    assert served == list(range(10))


async def test_who_gives_up_does_not_hold_up_the_others() -> None:
    """A cancelled upload leaves the queue."""
    turns, served = LoopThrottle(), []

    async def work(number: int) -> None:
        await turns.take()
        _step()
        served.append(number)

    tasks = [asyncio.create_task(work(number)) for number in range(4)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[1]
    await asyncio.gather(tasks[0], *tasks[2:])
    assert served == [0, 2, 3]
