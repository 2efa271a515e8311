"""Cancellation, Ctrl-C and the end of a process leave nothing running and no caller waiting."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from migration import CandidateCancelledError, Migration, Runtime, Side, migrate
from migration.model import LoopClosedError
from migration.routing import Shim
from migration.running import BackgroundLoop
from migration.testing import FixedRouter, RecordingObserver
from tests.migration.helpers import eventually, in_thread


class Held:
    """A candidate that runs until it is let go, and notes how it ended."""

    def __init__(self, runtime: Runtime) -> None:
        self.started = threading.Event()
        self.ended: list[str] = []
        self._release = asyncio.Event()
        self.shim: Shim[[], str] = migrate(Migration(name="m", candidate=self.candidate), runtime=runtime)(self.legacy)

    def legacy(self) -> str:
        return "old"

    async def candidate(self) -> str:
        self.started.set()
        try:
            await self._release.wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0.01)  # closing a connection takes a moment
            self.ended.append("cancelled")
            raise
        self.ended.append("finished")
        return "new"

    async def release(self) -> None:
        self._release.set()


@pytest.fixture
def held(runtime: Runtime, router: FixedRouter) -> Held:
    router.serve = Side.CANDIDATE
    return Held(runtime)


def tasks_on(loop: BackgroundLoop) -> int:
    async def count() -> int:
        return len(asyncio.all_tasks()) - 1

    return loop.run(count)


async def test_a_cancelled_caller_leaves_nothing_running(
    held: Held, runtime: Runtime, observer: RecordingObserver
) -> None:
    """When `.aio` has raised CancelledError the candidate has already ended, with its clean-up, on the other loop."""
    call = asyncio.create_task(held.shim.aio())
    assert await asyncio.to_thread(held.started.wait, 10)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert held.ended == ["cancelled"]
    assert await asyncio.to_thread(tasks_on, runtime.loop) == 0
    assert observer.served() == []
    assert len(observer.operations) == 2


async def test_a_deadline_of_the_caller_holds(held: Held) -> None:
    """`asyncio.timeout` around a call works as around any coroutine."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await held.shim.aio()
    assert held.ended == ["cancelled"]


async def test_a_failed_task_group_takes_its_calls_along(held: Held) -> None:
    """A sibling's failure cancels a call in flight, and the group ends."""

    async def fail() -> None:
        assert await asyncio.to_thread(held.started.wait, 10)
        raise ValueError

    async def both() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(held.shim.aio())
            group.create_task(fail())

    with pytest.raises(ExceptionGroup):
        await both()
    assert held.ended == ["cancelled"]


def test_ctrl_c_in_a_synchronous_caller_cancels_the_candidate(held: Held, runtime: Runtime) -> None:
    """The main thread waits for a candidate, or is just about to; the candidate is stopped before it is told."""

    def interrupt() -> None:
        assert held.started.wait(10)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    sender = in_thread(interrupt)
    with pytest.raises(KeyboardInterrupt):
        held.shim()
    sender.result(10)
    assert held.ended == ["cancelled"]
    assert tasks_on(runtime.loop) == 0


def test_a_finalizer_may_call_while_a_call_begins(router: FixedRouter, monkeypatch: pytest.MonkeyPatch) -> None:
    """The garbage is collected anywhere, also where a call is given to the loop; then legacy serves."""
    interrupted: list[str] = []

    def new_loop() -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        give = loop.call_soon_threadsafe

        def collecting(*args: Any, **kwargs: Any) -> object:
            if threading.current_thread() is caller and not interrupted:
                interrupted.append("")
                interrupted[0] = shim()
            return give(*args, **kwargs)

        monkeypatch.setattr(loop, "call_soon_threadsafe", collecting)
        return loop

    async def candidate() -> str:
        return "new"

    router.serve = Side.CANDIDATE
    runtime = Runtime(router=router, new_loop=new_loop)
    shim = migrate(Migration(name="m", candidate=candidate), runtime=runtime)(lambda: "old")
    served: list[str] = []
    caller = threading.Thread(target=lambda: served.append(shim()), daemon=True)
    caller.start()
    caller.join(5)
    assert (interrupted, served) == (["old"], ["new"])
    runtime.close()


SIGNALLED = """
import random, signal, time
from migration import Migration, Runtime, Side, migrate
from migration.testing import FixedRouter

async def candidate(): return "new"

shim = migrate(
    Migration(name="m", candidate=candidate), runtime=Runtime(router=FixedRouter(Side.CANDIDATE))
)(lambda: "old")
handled = []

def handle(*_):
    handled.append(shim())
    signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-4, 1e-3))

shim()
signal.signal(signal.SIGALRM, handle)
handle()
end = time.monotonic() + 2
while time.monotonic() < end:
    assert shim() == "new"
signal.setitimer(signal.ITIMER_REAL, 0)
assert len(handled) > 10
"""


def test_a_signal_handler_may_call_while_a_call_is_waited_for() -> None:
    """Wherever it interrupts the caller, neither waits for the other for ever."""
    subprocess.run([sys.executable, "-c", SIGNALLED], check=True, timeout=30)  # noqa: S603  # the text above


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt("from inside")])
def test_a_candidate_that_ends_the_process_hurts_nobody_else(
    held: Held, runtime: Runtime, error: BaseException
) -> None:
    """`sys.exit()` inside a candidate reaches its own caller, as legacy's would; others' calls go on."""

    async def leave() -> str:
        raise error

    leaving = migrate(Migration(name="leaving", candidate=leave), runtime=runtime)(lambda: "old")
    other = in_thread(held.shim)
    assert held.started.wait(10)
    with pytest.raises(type(error)):
        in_thread(leaving).result(10)
    runtime.loop.run(held.release)
    assert other.result(10) == "new"


@pytest.mark.parametrize("awaiting", [False, True])
def test_a_candidate_that_cancels_itself_is_no_cancelled_caller(
    runtime: Runtime, router: FixedRouter, *, awaiting: bool
) -> None:
    """The caller was not cancelled, so it gets an ordinary error, not one that a task group would swallow."""

    async def new() -> str:
        raise asyncio.CancelledError

    f = migrate(Migration(name="m", candidate=new), runtime=runtime)(lambda: "old")
    router.serve = Side.CANDIDATE
    with pytest.raises(CandidateCancelledError, match="its outcome is unknown"):
        in_thread(lambda: asyncio.run(f.aio()) if awaiting else f()).result(10)


# Closing


def test_closing_waits_for_calls_under_way(held: Held, runtime: Runtime) -> None:
    """A call that was begun is finished; one that begins meanwhile is served by legacy."""
    call = in_thread(held.shim)
    assert held.started.wait(10)
    closing = in_thread(runtime.close)
    assert eventually(lambda: runtime.loop.closed)
    assert held.shim() == "old"
    assert not closing.done()
    runtime.loop._loop.call_soon_threadsafe(held._release.set)  # type: ignore[union-attr]  # no more work is taken
    closing.result(10)
    assert call.result(10) == "new"


def test_a_call_under_way_may_still_await_another_while_closing(runtime: Runtime, router: FixedRouter) -> None:
    """The candidate that is being waited for is not sent to legacy in the middle of its work."""
    started = threading.Event()

    async def inner_new() -> str:
        return "inner new"

    async def outer_new() -> str:
        started.set()
        while not runtime.loop.closed:  # noqa: ASYNC110  # closing begins on another thread
            await asyncio.sleep(0.005)
        return await inner.aio()

    inner = migrate(Migration(name="m", candidate=inner_new), runtime=runtime)(lambda: "inner old")
    outer = migrate(Migration(name="m", candidate=outer_new), runtime=runtime)(lambda: "outer old")
    router.serve = Side.CANDIDATE
    call = in_thread(outer)
    assert started.wait(10)
    runtime.close()
    assert call.result(10) == "inner new"


@pytest.mark.parametrize("awaiting", [False, True])
def test_a_call_cut_off_by_closing_says_that_its_outcome_is_unknown(
    held: Held, runtime: Runtime, *, awaiting: bool
) -> None:
    """It is not served again by legacy, which might do the work twice."""
    call = in_thread(lambda: asyncio.run(held.shim.aio()) if awaiting else held.shim())
    assert held.started.wait(10)
    runtime.close(timeout=0)
    with pytest.raises(CandidateCancelledError):
        call.result(10)
    assert held.ended == ["cancelled"]


@pytest.mark.parametrize("obstinate", ["ignores cancellation", "blocks the loop"])
def test_a_candidate_that_will_not_stop_holds_nobody(
    runtime: Runtime, router: FixedRouter, monkeypatch: pytest.MonkeyPatch, obstinate: str
) -> None:
    """Closing is bounded even then, and the caller is let go with an error."""
    monkeypatch.setattr("migration.running.loop.CANCEL_SECONDS", 0.2)
    started, release = threading.Event(), threading.Event()

    async def candidate() -> None:
        started.set()
        while not release.is_set():
            if obstinate == "blocks the loop":
                release.wait(10)
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue

    f = migrate(Migration(name="m", candidate=candidate), runtime=runtime)(lambda: None)
    router.serve = Side.CANDIDATE
    call = in_thread(f)
    assert started.wait(10)
    in_thread(lambda: runtime.close(timeout=0)).result(10)
    with pytest.raises(CandidateCancelledError):
        call.result(10)
    release.set()


# The loop by itself


@pytest.fixture
def make_loop() -> Any:
    loops: list[BackgroundLoop] = []

    def make(**options: Any) -> BackgroundLoop:
        loops.append(BackgroundLoop("test-loop", **options))
        return loops[-1]

    yield make
    for loop in loops:
        loop.close(0)


MakeLoop = Callable[..., BackgroundLoop]


async def answer() -> int:
    return 42


def test_a_loop_starts_on_first_need(make_loop: MakeLoop) -> None:
    """No thread exists before the first job, one afterwards, none after closing."""

    def threads() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name == "test-loop"]

    loop = make_loop()
    assert threads() == []
    assert loop.run(answer) == 42
    assert threads() == ["test-loop"]
    loop.close()
    assert threads() == []
    with pytest.raises(LoopClosedError):
        loop.run(answer)


def test_what_lives_on_the_loop_is_started_and_closed_there(make_loop: MakeLoop) -> None:
    """Starters and closers run on the loop; a closer that fails does not keep the next from running."""
    loop = make_loop()
    happened: list[str] = []

    async def failing() -> None:
        happened.append("failing closer")
        raise OSError

    async def cancelled() -> None:
        raise asyncio.CancelledError

    async def closer() -> None:
        happened.append(f"closed on {threading.current_thread().name}")

    loop.on_start(lambda: happened.append(f"started on {threading.current_thread().name}"))
    loop.on_close(closer)
    loop.on_close(failing)
    loop.on_close(cancelled)
    loop.run(answer)
    loop.close()
    assert happened == ["started on test-loop", "closed on test-loop", "failing closer"]


def test_a_loop_knows_its_threads(make_loop: MakeLoop) -> None:
    """Its own, its workers, and no other."""
    loop = make_loop()

    async def ask() -> tuple[bool, bool, bool]:
        return (
            loop.is_current_thread(),
            await asyncio.to_thread(loop.is_current_thread),
            await asyncio.to_thread(loop.owns_current_thread),
        )

    assert not loop.owns_current_thread()
    assert loop.run(ask) == (True, False, True)
    assert not loop.owns_current_thread()
    other = make_loop()

    async def ask_other() -> bool:
        return loop.owns_current_thread() or await asyncio.to_thread(loop.owns_current_thread)

    assert not other.run(ask_other)
