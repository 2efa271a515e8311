"""The policy at work: coroutines wait, are woken, are cancelled, on one event loop and on many."""

from __future__ import annotations

import asyncio
import gc
import random
import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tools.engine.support import Waits
from tools.engine.limiter import AdaptiveLimit, Limiter, Priority
from tools.engine.throttle import RateLimiter, RateLimiterStatus


def _gate(width: int) -> RateLimiter:
    return RateLimiter(Limiter(AdaptiveLimit(ceiling=width, first=width)))


def _counts(gate: RateLimiter) -> tuple[int, int]:
    status = gate.status(now=0.0)
    return status.inside, status.waiting


async def _settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_as_many_as_the_limit_are_inside() -> None:
    """Further ones wait, and come in by order of arrival as others leave."""
    gate = _gate(2)
    order: list[int] = []
    leave = asyncio.Event()

    async def visit(number: int) -> None:
        async with gate.place(1):
            order.append(number)
            await leave.wait()

    visits = [asyncio.create_task(visit(number)) for number in range(5)]
    await _settle()
    assert order == [0, 1]
    assert gate.status(now=0.0) == RateLimiterStatus(limit=2, ceiling=2, inside=2, waiting=3, held_seconds=0.0)
    leave.set()
    await asyncio.gather(*visits)
    assert order == [0, 1, 2, 3, 4]
    assert _counts(gate) == (0, 0)


async def test_users_overtake_shadows() -> None:
    """However long shadows have waited: a place that becomes free goes to a user."""
    gate = _gate(1)
    order: list[Priority] = []

    async def visit(priority: Priority) -> None:
        async with gate.place(1, priority):
            order.append(priority)

    async with gate.place(1):
        visits = [asyncio.create_task(visit(priority)) for priority in (Priority.SHADOW, Priority.USER, Priority.USER)]
        await _settle()
    await asyncio.gather(*visits)
    assert order == [Priority.USER, Priority.USER, Priority.SHADOW]


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32), width=st.integers(1, 4), visitors=st.integers(1, 25))
def test_no_wake_up_is_lost_to_a_cancellation(seed: int, width: int, visitors: int) -> None:
    """Visitors are cancelled before, while and after their turn comes: all others get in, and all get out."""
    chance = random.Random(seed)  # a reproducible order of events

    async def run() -> None:
        gate = _gate(width)
        came_in: set[int] = set()

        async def visit(number: int) -> None:
            async with gate.place(chance.choice([1, 10**6, 10**8]), chance.choice(list(Priority))):
                assert gate.status(now=0.0).inside <= width
                came_in.add(number)
                for _ in range(chance.randrange(3)):
                    await asyncio.sleep(0)

        visits = [asyncio.create_task(visit(number)) for number in range(visitors)]
        for victim in chance.sample(visits, chance.randrange(visitors + 1)):
            if chance.random() < 0.7:
                await asyncio.sleep(0)
            victim.cancel()
        await asyncio.wait(visits)
        assert came_in >= {number for number, one in enumerate(visits) if not one.cancelled()}
        assert _counts(gate) == (0, 0)
        assert not gate._waiters

    asyncio.run(run())


async def test_who_is_cancelled_in_the_moment_of_its_turn_passes_it_on() -> None:
    """The place was given already when the cancellation came; the next one has it."""
    gate = _gate(1)
    entered: list[int] = []

    async def visit(number: int) -> None:
        async with gate.place(1):
            entered.append(number)

    async with gate.place(1):
        first, second = (asyncio.create_task(visit(number)) for number in (1, 2))
        await _settle()
    first.cancel()  # its turn has come, but it has not run since
    await asyncio.wait([first, second])
    assert first.cancelled()
    assert entered == [2]
    assert _counts(gate) == (0, 0)


async def test_a_hold_is_waited_out_inside() -> None:
    """After a refusal all wait, also for a hold that begins meanwhile; a failing wait gives the place back."""
    gate, waits = _gate(4), Waits()
    async with gate.place(1, clock=waits.clock) as place:
        place.refused(5.0, advised=True)
    async with gate.place(1, clock=waits.clock):
        pass
    assert waits.seconds == [pytest.approx(5.0, abs=0.5)]
    async with gate.place(1) as place:
        place.refused(60.0, advised=True)
        waiting = asyncio.create_task(gate.place(1).__aenter__())
        await _settle()
        assert _counts(gate) == (1, 1)  # the refusal made it narrower
    await _settle()
    assert _counts(gate) == (1, 0)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert _counts(gate) == (0, 0)


def test_visitors_of_many_loops_share_one_gate(say: Callable[[str], None]) -> None:
    """Threads with loops of their own: never more than the limit inside, and all get in."""
    gate = _gate(3)
    inside, most, done = 0, 0, 0
    lock = threading.Lock()

    async def visit() -> None:
        nonlocal inside, most, done
        async with gate.place(1):
            with lock:
                inside += 1
                most = max(most, inside)
            await asyncio.sleep(0)
            with lock:
                inside -= 1
                done += 1

    async def crowd() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(200):
                group.create_task(visit())

    threads = [threading.Thread(target=asyncio.run, args=(crowd(),)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    say(f"{done} visits from 8 loops, at most {most} at once")
    assert (done, most) == (1600, 3)
    assert _counts(gate) == (0, 0)


def test_a_loop_that_ends_without_its_visitor_blocks_nobody() -> None:
    """A place given to a loop that is closed goes to the next one; one that was held there is free once it is freed."""
    gate = _gate(1)
    held: list[Any] = []

    async def hold_and_wait() -> None:
        held.append(gate.place(1))
        await held[0].__aenter__()
        waiting = asyncio.ensure_future(gate.place(1).__aenter__())
        await _settle()
        held.append(waiting)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(hold_and_wait())
    loop.close()
    assert _counts(gate) == (1, 1)

    async def leave_and_visit() -> None:
        await held[0].__aexit__()
        async with asyncio.timeout(10), gate.place(1):
            assert _counts(gate)[0] == 1

    asyncio.run(leave_and_visit())
    assert _counts(gate) == (0, 0)
    held[1].get_coro().close()
    held[1]._log_destroy_pending = False
    held.clear()
    gc.collect()
    assert _counts(gate) == (0, 0)


async def test_a_free_place_costs_microseconds(say: Callable[[str], None]) -> None:
    """Measured beside asyncio's semaphore, in turns; only reported, for time is no property of the code."""
    gate, semaphore = _gate(8), asyncio.Semaphore(8)
    rounds, visits = 7, 2000
    seconds: dict[str, list[float]] = {"gate": [], "semaphore": []}
    for _ in range(rounds):
        began = time.perf_counter()
        for _ in range(visits):
            async with semaphore:
                pass
        middle = time.perf_counter()
        for _ in range(visits):
            async with gate.place(1):
                pass
        seconds["semaphore"].append(middle - began)
        seconds["gate"].append(time.perf_counter() - middle)
    gate_us, semaphore_us = (statistics.median(seconds[name]) / visits * 1e6 for name in ("gate", "semaphore"))
    say(f"a free place: {gate_us:.1f} us, asyncio.Semaphore {semaphore_us:.1f} us, ratio {gate_us / semaphore_us:.1f}")
    assert _counts(gate) == (0, 0)
