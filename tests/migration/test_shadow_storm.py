"""Many shadows at once, whatever they do and whatever happens to them: none is lost, nothing is left behind."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from migration import Comparison, Migration, Runtime, ShadowLimits, Side, migrate
from migration.model import Verdict
from migration.routing import Shim
from migration.testing import FixedRouter, RecordingObserver
from tests.migration.helpers import eventually, in_thread
from tests.migration.outbox import OutboxReplay, rehearsing
from tests.migration.shadowing import failing, gated

MANY = 200


class OddError(BaseException):
    """What is not expected to be raised."""


def allocating() -> int:
    return bytearray(20_000_000)[-1]


def slow() -> int:
    time.sleep(0.01)
    return 0


BEHAVIOURS: tuple[Callable[[], object], ...] = (
    lambda: 0,
    allocating,
    slow,
    failing(ValueError("no")),
    failing(SystemExit("no")),
    failing(KeyboardInterrupt()),
    failing(OddError()),
    failing(asyncio.CancelledError()),
)


def stormy(
    router: FixedRouter, observer: RecordingObserver, **limits: Any
) -> tuple[Runtime, Shim[[int], object], OutboxReplay]:
    """A function whose rehearsals behave in every way, on both sides."""
    replay = OutboxReplay()
    router.shadow = True
    runtime = Runtime(router=router, observers=[observer], shadow_limits=ShadowLimits(yield_seconds=0, **limits))

    def legacy(number: int) -> object:
        return BEHAVIOURS[number % len(BEHAVIOURS)]() if rehearsing() else 0

    async def candidate(number: int) -> object:
        await asyncio.sleep(0)
        return BEHAVIOURS[number // len(BEHAVIOURS) % len(BEHAVIOURS)]() if rehearsing() else 0

    return runtime, migrate(Migration(name="m", candidate=candidate, replay=replay), runtime=runtime)(legacy), replay


def call_at_once(shim: Shim[[int], object], calls: int = MANY, threads: int = 20) -> None:
    numbers = itertools.count()
    running = [in_thread(lambda: [shim(next(numbers)) for _ in range(calls // threads)]) for _ in range(threads)]
    for each in running:
        each.result(30)


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.mark.parametrize("serve", Side)
def test_whatever_the_sides_do_every_call_is_accounted_for(
    router: FixedRouter, observer: RecordingObserver, serve: Side
) -> None:
    """Two hundred at once that succeed, fail, allocate and try to end the process: each has its comparison."""
    threads, files = threading.active_count(), descriptors()
    runtime, shim, replay = stormy(router, observer, waiting=MANY)
    router.serve = serve
    call_at_once(shim)
    assert runtime.shadows.drain(60)
    assert len(observer.comparisons) == MANY
    assert (runtime.shadows.pending, replay.open_worlds) == (0, 0)
    assert {found.verdict for found in observer.comparisons} == {Verdict.IDENTICAL} | (
        {Verdict.DROPPED, Verdict.CANDIDATE_ERROR} if serve is Side.LEGACY else {Verdict.DROPPED, Verdict.LEGACY_ERROR}
    )
    assert all("did not do the same again" in found.detail for found in dropped(observer.comparisons))
    runtime.close()
    assert eventually(lambda: threading.active_count() <= threads)
    assert eventually(lambda: descriptors() < files + 10)  # of two hundred calls; other tests may keep some


def dropped(comparisons: list[Comparison]) -> list[Comparison]:
    return [found for found in comparisons if found.verdict is Verdict.DROPPED]


def test_a_side_that_would_end_the_process_has_failed(router: FixedRouter, observer: RecordingObserver) -> None:
    """`sys.exit()` in a candidate is a candidate's error, and the process goes on."""
    router.shadow = True
    runtime = Runtime(router=router, observers=[observer])

    async def candidate() -> int:
        raise SystemExit(3)

    migrate(Migration(name="m", candidate=candidate, replay=OutboxReplay()), runtime=runtime)(lambda: 1)()
    assert runtime.shadows.drain(10)
    [found] = observer.comparisons
    assert found.verdict is Verdict.CANDIDATE_ERROR
    assert ("error.type", "'SystemExit'") in {(each.field, each.candidate) for each in found.differences}
    runtime.close()


def test_a_recording_that_would_end_the_process_costs_its_own_comparison(
    router: FixedRouter, observer: RecordingObserver
) -> None:
    """Whatever it raises, and whenever: it is the reason why that call was not compared, and the next one is."""
    runtime, shim, replay = stormy(router, observer)
    raising: list[BaseException] = [SystemExit("odd"), OddError("odd"), asyncio.CancelledError("odd")]

    def stale() -> bool:
        if raising:
            raise raising.pop()
        return False

    replay.stale = stale
    for _ in range(4):
        shim(0)
    assert runtime.shadows.drain(10)
    assert Counter(found.detail for found in observer.comparisons) == Counter(
        [f"the comparison failed: {name}: odd" for name in ("SystemExit", "OddError", "CancelledError")] + [""]
    )
    runtime.close()


def test_too_many_at_once_are_dropped_and_counted(router: FixedRouter, observer: RecordingObserver) -> None:
    """What exceeds the bound is reported as well: compared and dropped add up to what was sampled."""
    gate, runtime, shim, _ = gated(router, observer, shadow_limits=ShadowLimits(waiting=20))
    for each in [in_thread(lambda: [shim() for _ in range(MANY // 20)]) for _ in range(20)]:
        each.result(30)
    gate.opened.set()
    assert runtime.shadows.drain(30)
    assert Counter(found.verdict for found in observer.comparisons) == {
        Verdict.DROPPED: MANY - 20,
        Verdict.IDENTICAL: 20,
    }
    runtime.close()


def test_closing_in_the_middle_loses_none(router: FixedRouter, observer: RecordingObserver) -> None:
    """While callers go on: each call was compared, or dropped because the process was ending."""
    runtime, shim, replay = stormy(router, observer, waiting=MANY)
    calling = in_thread(lambda: call_at_once(shim))
    assert eventually(lambda: len(observer.comparisons) >= 5)
    runtime.shadows.close(timeout=0.05)
    calling.result(30)
    assert len(observer.comparisons) == MANY
    assert (runtime.shadows.pending, replay.open_worlds) == (0, 0)
    reasons = {found.detail.partition(":")[0] for found in dropped(observer.comparisons)}
    assert reasons & {"the process is ending", "no shadow can be started"}, reasons
    runtime.close()


def test_cancelled_workers_lose_none(router: FixedRouter, observer: RecordingObserver) -> None:
    """If everything on the shadows' loop is cancelled, what waited is dropped, and later calls are compared again."""
    gate, runtime, shim, replay = gated(router, observer)
    for _ in range(10):
        shim()
    assert eventually(lambda: len(gate.held) == 2)
    loop = runtime.shadows.loop._loop
    assert loop is not None
    loop.call_soon_threadsafe(lambda: [task.cancel() for task in asyncio.all_tasks(loop)])
    assert runtime.shadows.drain(10)
    assert [found.detail for found in observer.comparisons] == ["the process is ending"] * 10
    assert replay.open_worlds == 0
    gate.opened.set()
    shim()
    assert runtime.shadows.drain(10)
    assert observer.comparisons[-1].verdict is Verdict.IDENTICAL
    runtime.close()


def test_a_candidate_that_will_not_be_cancelled_is_given_up(router: FixedRouter, observer: RecordingObserver) -> None:
    """It is dropped soon after its deadline, and does not keep the others from being compared."""
    router.shadow = True
    runtime = Runtime(router=router, observers=[observer], shadow_limits=ShadowLimits(seconds=0.1))
    freed = threading.Event()

    async def candidate(word: str) -> str:
        while rehearsing() and word == "stubborn" and not freed.is_set():
            try:
                await asyncio.sleep(0.02)
            except asyncio.CancelledError:
                continue
        return word

    migration = Migration(name="m", candidate=candidate, replay=OutboxReplay())

    def legacy(word: str) -> str:
        return word

    shim = migrate(migration, runtime=runtime)(legacy)
    shim("stubborn")
    assert runtime.shadows.drain(10)
    assert observer.comparisons[0].detail == "not finished within 0.1 s"
    shim("willing")
    assert runtime.shadows.drain(10)
    assert observer.comparisons[1].verdict is Verdict.IDENTICAL
    assert runtime.shadows._isolated.stuck == 1
    freed.set()
    assert eventually(lambda: runtime.shadows._isolated.stuck == 0)
    runtime.close()
