"""A sampled call, and running its sides isolated: one that hangs or would end the process costs only its own run."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from contextvars import Context, copy_context
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, cast

from migration.model.declaration import Migration
from migration.model.errors import HomeEndedError, UnfollowedError
from migration.model.model import Call, Comparison, Decision, Notice, NoticeKind, Outcome, Side, Verdict
from migration.model.ports import Recording, Sent
from migration.running.candidate import Candidate, is_being_cancelled
from migration.running.in_flight import end_shadow, place_of
from migration.running.job import LoopJob
from migration.running.loop import BackgroundLoop
from migration.running.observers import Observers
from migration.running.propagation import FollowedRun, follow_tasks, following
from migration.shadow.facts import Facts, Flattening


@dataclass(frozen=True, slots=True)
class Home:
    """The event loop on which a call was made, where an asynchronous legacy belongs, and its thread."""

    loop: asyncio.AbstractEventLoop
    thread: int

    @classmethod
    def here(cls) -> Home | None:
        """The loop that runs in this thread."""
        try:
            return cls(asyncio.get_running_loop(), threading.get_ident())
        except RuntimeError:
            return None

    async def is_running(self) -> bool:
        """Whether it runs; False if it is closed.

        Raises:
            UnfollowedError: neither, so legacy can be run nowhere.
        """
        for _ in range(HOME_POLLS):
            await asyncio.sleep(HOME_SECONDS)  # it may be about to be closed
            if self.loop.is_running() or self.loop.is_closed():
                return self.loop.is_running()
        raise UnfollowedError("legacy is asynchronous, and the event loop on which it was called stands still")


@dataclass(slots=True, kw_only=True)
class Shadow:
    """One sampled call, as its caller was answered."""

    migration: Migration
    legacy: Callable[..., Any] = field(repr=False)
    candidate: Candidate[..., Any]
    call: Call
    decision: Decision
    side: Side
    seconds: float
    trace: str | None
    recording: Recording | None
    home: Home | None = None
    _flattening: Flattening | None = field(default=None, repr=False)

    def begin_facts(self, outcome: Outcome[Any]) -> None:
        """Take the outcome apart, as long as its caller can wait, who may change it afterwards."""
        self._flattening = Flattening.of(self.migration, outcome)
        self._flattening.begin()

    @property
    def late(self) -> bool:
        """Whether its facts were not all taken before its caller had its answer."""
        return self._flattening is not None and self._flattening.late

    @property
    def facts(self) -> Facts:
        """What is compared of the primary's outcome. Asked for by one thread."""
        return {} if self._flattening is None else self._flattening.finished()

    async def finish_facts(self) -> None:
        """Take the rest apart."""
        _ = self.facts

    def comparison(self, verdict: Verdict, **what: Any) -> Comparison:
        """A comparison of this call, without its arguments: it is kept longer than the call."""
        return Comparison(
            call=replace(self.call, args=(), kwargs={}),
            decision=self.decision,
            verdict=verdict,
            mode=self.migration.mode,
            primary_seconds=self.seconds,
            primary_trace=self.trace,
            **what,
        )

    def dropped(self, why: str) -> Comparison:
        """A comparison that was not made, with the reason."""
        return self.comparison(Verdict.DROPPED, detail=why)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """A further run of a side: its outcome, its requests, and its W3C traceparent."""

    outcome: Outcome[Any] = field(repr=False)
    sent: Sent = field(repr=False)
    trace: str | None


MAX_STUCK = 8
"""Runs that were given up and have not ended. With so many of them no further shadow is taken."""

STUCK = f"{MAX_STUCK} earlier shadows hang and cannot be ended"

BLOCKED_SECONDS = 0.25
"""A loop that has not come round for so long is blocked. Calls are then not taken there until it does."""

HOME_SECONDS = 0.05
"""Likewise for the event loop of a caller of asynchronous legacy; how often it is looked at."""

HOME_POLLS = 10
"""How often a caller's loop is looked at that neither runs nor is closed."""

PAUSE_FACTOR = 100.0
"""How much longer than it blocked callers a candidate is not run for shadows: so they are blocked 1 % of the time."""

LEFT_SECONDS = 1.0
"""How long a shadow waits for the threads and tasks that its side has begun and left running."""

GRACE_SECONDS = 1.0
"""How long a cancelled candidate may take to end; then it is given up."""


class IsolatedRunner:
    """Runs sides; whatever a side raises is an outcome.

    Legacy runs in a daemon thread of its own, because the interpreter waits at its exit for the threads of a pool. The
    candidate runs where callers run it. If it blocks that loop, calls are refused there meanwhile, so that legacy
    serves them; if callers' runs were held up, it rests for `PAUSE_FACTOR` times as long.

    Args:
        candidates: the loop on which candidates run.
        observers: are told of a blocked loop.
        now: the clock, in seconds; it must not go back.
    """

    def __init__(self, candidates: BackgroundLoop, observers: Observers, *, now: Callable[[], float]) -> None:
        self._candidates = candidates
        self._observers = observers
        self._now = now
        self._stuck = 0
        self._rests: dict[str, tuple[float, str]] = {}
        self._unfollowed: dict[str, str] = {}

    @property
    def stuck(self) -> int:
        """Runs that were given up and have not ended."""
        return self._stuck

    def refusal(self, shadow: Shadow) -> str | None:
        """Why this call must not be run again now, or None."""
        if self._stuck >= MAX_STUCK:
            return STUCK
        if (left := self._unfollowed.get(shadow.call.function)) is not None:
            return left
        until, why = self._rests.get(shadow.migration.name, (0.0, ""))
        return why if self._now() < until else None

    async def run(self, shadow: Shadow, side: Side, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Outcome[Any]:
        """Run a side with these arguments.

        Whatever threads, tasks and pools it uses have the context of this run.

        Raises:
            LoopUnavailableError: the candidate's loop takes no work; nothing has run.
            UnfollowedError: it has left something running.
        """
        with following(Context()) as run:
            if side is Side.LEGACY:
                outcome = await self._run_legacy(shadow, args, kwargs)
            else:
                outcome = await self._run_candidate(shadow, args, kwargs)
            await self._end_of_all(shadow, side, run)
        return outcome

    async def _end_of_all(self, shadow: Shadow, side: Side, run: FollowedRun) -> None:
        """Wait for what the side has begun. What goes on may serve callers later, so it is let go, for good.

        Except from a live shadow, of which nothing must be made after it was undone.
        """
        until = self._now() + LEFT_SECONDS
        while (left := run.left()) is not None:
            if self._now() >= until:
                why = (
                    f"{side} leaves {left} running, which may work for callers later, so {shadow.call.function} is not "
                    "run for shadows again in this process; let it begin before the first call"
                )
                self._unfollowed[shadow.call.function] = why
                if not shadow.migration.mode.is_real:
                    end_shadow()
                    run.released = True
                raise UnfollowedError(why)
            await asyncio.sleep(LEFT_SECONDS / 100)

    async def _run_legacy(self, shadow: Shadow, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Outcome[Any]:
        """Run legacy in a thread; an asynchronous one where it was called, for what it keeps belongs to that loop."""
        outcome = await self._in_thread(partial(shadow.legacy, *args, **kwargs))
        if not inspect.iscoroutine(outcome.value):
            return outcome
        try:
            return await self._run_awaited(shadow, outcome.value)
        finally:
            if inspect.getcoroutinestate(outcome.value) == inspect.CORO_CREATED:
                outcome.value.close()

    async def _run_awaited(self, shadow: Shadow, legacy: Coroutine[Any, Any, Any]) -> Outcome[Any]:
        home = shadow.home
        if home is None or not await home.is_running():
            return await self._in_thread(partial(asyncio.run, legacy))
        job = LoopJob(lambda: _to_its_end(legacy), copy_context(), shadow=True)
        try:
            job.start(home.loop)
        except RuntimeError as error:  # it was closed meanwhile
            raise HomeEndedError from error
        return await self._end_of_job(job, self._watch_home(shadow, home, job))

    async def _in_thread(self, legacy: Callable[[], Any]) -> Outcome[Any]:
        """Run legacy in a thread, in a copy of this context. A cancellation ends the waiting, not the thread."""
        loop, context = asyncio.get_running_loop(), copy_context()
        ended: asyncio.Future[None] = loop.create_future()
        outcome: list[Outcome[Any]] = []

        def run() -> None:
            outcome.append(context.run(_legacy_to_its_end, legacy))
            with suppress(RuntimeError):  # the loop is closed, and with it what waited
                loop.call_soon_threadsafe(ended.set_result, None)

        threading.Thread(target=run, name="migration-shadow-legacy", daemon=True).start()
        await self._end_of(ended)
        return outcome.pop()  # taken out: its exception keeps `run`, which would keep it, and the arguments, alive

    async def _run_candidate(self, shadow: Shadow, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Outcome[Any]:
        """Run the candidate in a task of the candidates' loop."""
        job = self._candidates.submit(lambda: _candidate_to_its_end(shadow.candidate, args, kwargs), shadow=True)
        return await self._end_of_job(job, self._watch(shadow.migration.name))

    async def _end_of_job(self, job: LoopJob, watch: Coroutine[Any, Any, None]) -> Outcome[Any]:
        """Wait for it as long as it is watched. A cancellation is passed on, and waits at most `GRACE_SECONDS`.

        Raises:
            HomeEndedError: its loop has ended before it.
        """
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()

        def tell(_done: object) -> None:
            with suppress(RuntimeError):  # the loop is closed, and with it what waited
                loop.call_soon_threadsafe(ended.set_result, None)

        job.future.add_done_callback(tell)
        watching = asyncio.create_task(watch)
        watching.add_done_callback(lambda done: None if done.cancelled() else job.give_up())
        try:
            await self._end_of(ended)
        finally:
            if not ended.done():
                job.cancel()
                await asyncio.wait({ended}, timeout=GRACE_SECONDS)
            watching.cancel()
        try:
            return cast("Outcome[Any]", job.future.result())
        except asyncio.CancelledError as error:
            if is_being_cancelled():
                raise
            raise HomeEndedError from error

    async def _watch_home(self, shadow: Shadow, home: Home, job: LoopJob) -> None:
        """Let asynchronous legacy rest that blocks the loop of its callers; return when that loop has ended."""
        while home.loop.is_running():
            turned: concurrent.futures.Future[None] = concurrent.futures.Future()
            began = self._now()
            with suppress(RuntimeError):  # it is closed: then it does not run any more, either
                home.loop.call_soon_threadsafe(turned.set_result, None)
            await asyncio.sleep(HOME_SECONDS)
            if not turned.done() and job.is_current():
                where = place_of(home.thread)
                try:
                    while not turned.done() and home.loop.is_running():  # noqa: ASYNC110  # its thread sets it
                        await asyncio.sleep(HOME_SECONDS / 10)
                finally:  # often it ends with the shadow
                    self._let_rest(shadow.migration.name, self._now() - began, f"its callers at {where}")

    async def _watch(self, migration: str) -> None:
        """Notice that the candidates' loop is blocked."""
        while True:
            turned = self._candidates.ping()
            await asyncio.sleep(BLOCKED_SECONDS)
            if not turned.done():
                await self._end_of_blocking(migration, turned)

    async def _end_of_blocking(self, migration: str, turned: concurrent.futures.Future[None]) -> None:
        """See to it that calls go elsewhere while the loop is blocked."""
        began, meets_callers = self._now() - BLOCKED_SECONDS, self._candidates.serves_callers
        where = self._candidates.refuse_calls_while_blocked()
        text = f"a shadow blocks the event loop of the candidates at {where}; legacy serves meanwhile"
        self._observers.noticed(Notice(kind=NoticeKind.BLOCKED_EVENT_LOOP, migration=migration, text=text))
        try:
            while not turned.done():  # noqa: ASYNC110  # another loop's thread sets it
                await asyncio.sleep(BLOCKED_SECONDS / 10)
        finally:
            if meets_callers:
                self._let_rest(migration, self._now() - began, f"the candidates at {where} while calls ran there")

    def _let_rest(self, migration: str, seconds: float, whose: str) -> None:
        rest = PAUSE_FACTOR * seconds
        why = f"a shadow blocked the event loop of {whose}, for {seconds:.2f} s: none is run for {rest:.0f} s"
        self._rests[migration] = (self._now() + rest, why)

    async def _end_of(self, ended: asyncio.Future[Any]) -> None:
        try:
            await asyncio.wait({ended})
        finally:
            if not ended.done():
                self._stuck += 1
                ended.add_done_callback(self._ended_late)

    def _ended_late(self, _ended: object) -> None:
        self._stuck -= 1


def _legacy_to_its_end(legacy: Callable[[], Any]) -> Outcome[Any]:
    start = time.perf_counter()
    try:
        value = legacy()
    except BaseException as error:  # noqa: BLE001  # a side that would end the process is one that failed
        return Outcome(side=Side.LEGACY, seconds=time.perf_counter() - start, error=error)
    return Outcome(side=Side.LEGACY, seconds=time.perf_counter() - start, value=value)


async def _to_its_end(legacy: Coroutine[Any, Any, Any]) -> Outcome[Any]:
    start = time.perf_counter()
    try:
        value = await legacy
    except BaseException as error:
        if isinstance(error, GeneratorExit) or is_being_cancelled():
            raise
        return Outcome(side=Side.LEGACY, seconds=time.perf_counter() - start, error=error)
    return Outcome(side=Side.LEGACY, seconds=time.perf_counter() - start, value=value)


async def _candidate_to_its_end(
    candidate: Candidate[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Outcome[Any]:
    follow_tasks(asyncio.get_running_loop())
    start = time.perf_counter()
    try:
        return await candidate.run(args, kwargs)
    except BaseException as error:
        if isinstance(error, GeneratorExit) or is_being_cancelled():
            raise
        return Outcome(side=Side.CANDIDATE, seconds=time.perf_counter() - start, error=error)
