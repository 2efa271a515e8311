"""Comparing is bounded in every way, and costs no caller anything; each bound is driven to the bound."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from migration import Migration, Runtime, ShadowLimits, Side, migrate
from migration.model import Verdict
from migration.routing import Shim
from migration.shadow.isolated import MAX_STUCK
from migration.shadow.runner import CONCURRENT_SHADOWS
from migration.testing import FixedRouter, RecordingObserver
from tests.migration.helpers import eventually, in_thread
from tests.migration.outbox import OutboxReplay, rehearsing
from tests.migration.shadowing import failing, gated


@pytest.mark.parametrize("serve", Side)
@pytest.mark.parametrize("awaiting", [False, True])
def test_a_shadow_never_delays_its_caller(
    router: FixedRouter, observer: RecordingObserver, serve: Side, *, awaiting: bool
) -> None:
    """The caller has its answer, and can call again, while every shadow stands still."""
    gate, runtime, shim, _ = gated(router, observer)
    router.serve = serve
    for _ in range(5):
        in_thread(lambda: asyncio.run(shim.aio()) if awaiting else shim()).result(10)
    assert eventually(lambda: len(gate.held) == 2), "two at once, not more"
    assert observer.comparisons == []
    assert runtime.shadows.pending == 5
    gate.opened.set()
    runtime.close()
    assert [found.verdict for found in observer.comparisons] == [Verdict.IDENTICAL] * 5
    assert runtime.shadows.pending == 0


def test_a_full_queue_drops_and_says_so(router: FixedRouter, observer: RecordingObserver) -> None:
    """The bound holds for waiting and running ones together; room that becomes free is used again."""
    gate, runtime, shim, _ = gated(router, observer, shadow_limits=ShadowLimits(waiting=3))
    for _ in range(10):
        shim()
    assert [found.detail for found in observer.comparisons] == ["3 shadows are already waiting"] * 7
    gate.opened.set()
    assert runtime.shadows.drain(10)
    shim()
    runtime.close()
    verdicts = [found.verdict for found in observer.comparisons]
    assert verdicts == [Verdict.DROPPED] * 7 + [Verdict.IDENTICAL] * 4


def test_the_bytes_that_wait_are_bounded(router: FixedRouter, observer: RecordingObserver) -> None:
    """Inputs of more bytes than there is room for are dropped, and their room is given back."""
    gate, runtime, shim, replay = gated(router, observer, shadow_limits=ShadowLimits(waiting_bytes=100))
    replay.size = lambda: 40
    for _ in range(4):
        shim()
    assert [found.detail for found in observer.comparisons] == [
        "the shadows that are waiting have 80 of 100 bytes, and this one has 40"
    ] * 2
    gate.opened.set()
    assert runtime.shadows.drain(10)
    replay.size = lambda: 100
    shim()
    runtime.close()
    assert observer.comparisons[-1].verdict is Verdict.IDENTICAL


def test_the_bytes_of_an_hour_are_bounded(router: FixedRouter, observer: RecordingObserver) -> None:
    """Each run of a side reads the input once; what exceeds the hour's budget is dropped before anything runs."""
    gate, runtime, shim, replay = gated(router, observer, shadow_limits=ShadowLimits(hourly_bytes=100))
    replay.size = lambda: 20
    gate.opened.set()
    for _ in range(4):
        shim()
        assert runtime.shadows.drain(10)
    runtime.close()
    assert [found.verdict for found in observer.comparisons] == [Verdict.IDENTICAL] * 2 + [Verdict.DROPPED] * 2
    assert observer.comparisons[-1].detail == "the 100 bytes that shadows may read within an hour are used up"
    assert len(gate.held) == 4


def test_an_input_without_a_size_is_dropped(router: FixedRouter, observer: RecordingObserver) -> None:
    """What cannot be bounded is not taken, and the caller has its answer."""
    _, runtime, shim, replay = gated(router, observer)
    replay.size = failing(OSError())
    assert shim() == {"id": "1"}
    assert [found.detail for found in observer.comparisons] == ["the size of its input cannot be told: OSError"]
    runtime.close()


def test_a_shadow_that_takes_too_long_is_dropped(router: FixedRouter, observer: RecordingObserver) -> None:
    """Its deadline ends it, closes its world, and gives its place to the next; it counts from the caller's answer."""
    gate, runtime, shim, replay = gated(router, observer, shadow_limits=ShadowLimits(seconds=0.3))
    for _ in range(4):
        shim()
    assert eventually(lambda: len(observer.comparisons) == 4)
    details = Counter(found.detail for found in observer.comparisons)
    assert details["not finished within 0.3 s"] >= 2
    assert set(details) <= {"not finished within 0.3 s", "it could not begin within 0.3 s"}
    assert replay.open_worlds == 0
    gate.opened.set()
    assert runtime.shadows.drain(10)
    shim()
    assert runtime.shadows.drain(10)
    assert observer.comparisons[-1].verdict is Verdict.IDENTICAL
    runtime.close()


def test_what_hangs_is_bounded(router: FixedRouter, observer: RecordingObserver) -> None:
    """Runs that never end keep a thread each; with so many that are stuck, no further one begins until they end."""
    gate, runtime, shim, _ = gated(router, observer, shadow_limits=ShadowLimits(seconds=0.05, waiting=1000))

    def call_until_refused() -> bool:
        shim()
        return any("cannot be ended" in found.detail for found in observer.comparisons)

    assert eventually(call_until_refused)
    assert runtime.shadows.drain(10)
    assert MAX_STUCK <= len(gate.held) <= MAX_STUCK + CONCURRENT_SHADOWS - 1
    gate.opened.set()

    def accepted_again() -> bool:
        shim()
        return runtime.shadows.drain(10) and observer.comparisons[-1].verdict is Verdict.IDENTICAL

    assert eventually(accepted_again)
    runtime.close()


@dataclass
class Busy:
    """A function whose calls can be held, and whose rehearsals say that they ran."""

    release: threading.Event = field(default_factory=threading.Event)
    entered: threading.Event = field(default_factory=threading.Event)
    rehearsed: threading.Event = field(default_factory=threading.Event)

    def __call__(self, word: str) -> str:
        if rehearsing():
            self.rehearsed.set()
        elif word == "slow":
            self.entered.set()
            assert self.release.wait(20)
        return word


def busy(router: FixedRouter, yield_seconds: float) -> tuple[Busy, Runtime, Shim[[str], str]]:
    function = Busy()
    router.shadow = True
    runtime = Runtime(router=router, shadow_limits=ShadowLimits(yield_seconds=yield_seconds))

    def legacy(word: str) -> str:
        return function(word)

    async def candidate(word: str) -> str:
        return await asyncio.to_thread(function, word)

    migration = Migration(name="m", candidate=candidate, replay=OutboxReplay())
    return function, runtime, migrate(migration, runtime=runtime)(legacy)


@pytest.mark.parametrize("serve", Side)
def test_shadows_let_calls_go_first(router: FixedRouter, serve: Side) -> None:
    """While a call is in flight no shadow begins; when it has ended, they do."""
    function, runtime, shim = busy(router, yield_seconds=60)
    router.serve = serve
    slow = in_thread(lambda: shim("slow"))
    assert function.entered.wait(10)
    shim("quick")
    assert not function.rehearsed.wait(0.2)
    function.release.set()
    assert slow.result(10) == "slow"
    assert runtime.shadows.drain(10)
    assert function.rehearsed.is_set()
    runtime.close()


def test_yielding_ends(router: FixedRouter) -> None:
    """Where calls are always in flight, shadows run after all."""
    function, runtime, shim = busy(router, yield_seconds=0.05)
    slow = in_thread(lambda: shim("slow"))
    assert function.entered.wait(10)
    shim("quick")
    assert runtime.shadows.drain(10)
    assert function.rehearsed.is_set()
    function.release.set()
    slow.result(10)
    runtime.close()


@pytest.mark.parametrize("serve", Side)
@pytest.mark.parametrize("fails", [False, True])
def test_arguments_and_results_live_no_longer_than_their_comparison(
    router: FixedRouter, observer: RecordingObserver, serve: Side, *, fails: bool
) -> None:
    """Once it is reported, nothing keeps the caller's objects, exceptions included, and no collector is needed."""

    class Thing:
        pass

    def use(thing: Thing) -> Thing:
        if fails:
            raise ValueError(repr(type(thing)))
        return thing

    async def candidate(thing: Thing) -> Thing:
        return use(thing)

    router.serve, router.shadow = serve, True
    runtime = Runtime(router=router, observers=[observer])
    migration = Migration(name="m", candidate=candidate, replay=OutboxReplay(), facts=lambda _: {})
    shim = migrate(migration, runtime=runtime)(use)
    thing = Thing()
    gone = weakref.ref(thing)
    gc.collect()
    gc.disable()
    try:
        with suppress(ValueError):
            shim(thing)
        del thing
        assert runtime.shadows.drain(10)
        observer.operations.clear()  # which this observer keeps, with the calls
        assert eventually(lambda: gone() is None, 2)
    finally:
        gc.enable()
    expected = Verdict.SAME_ERROR if fails else Verdict.IDENTICAL
    assert [found.verdict for found in observer.comparisons] == [expected]
    runtime.close()


def test_closing_reports_every_shadow(router: FixedRouter, observer: RecordingObserver) -> None:
    """Those that run and those that wait are dropped with the reason; later ones as well."""
    gate, runtime, shim, _ = gated(router, observer)
    for _ in range(6):
        shim()
    assert eventually(lambda: len(gate.held) == 2)
    runtime.shadows.close(timeout=0)
    assert [found.detail for found in observer.comparisons] == ["the process is ending"] * 6
    shim()
    assert "shutting down" in observer.comparisons[-1].detail
    assert runtime.shadows.pending == 0
    gate.opened.set()
    runtime.close()
