"""Compares sampled calls after their callers were answered: on a loop of its own, and bounded.

Only the candidate runs on the loop of the callers, where its connections and locks belong: what a candidate binds to
the first loop that it sees, a session in a global variable, say, serves callers as well.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from migration.forking import renew_in_child
from migration.model.errors import IncompleteFactsError, LoopUnavailableError, UnfollowedError
from migration.model.model import Comparison, Side, Verdict
from migration.running.candidate import is_being_cancelled
from migration.running.in_flight import InFlightCalls
from migration.running.loop import BackgroundLoop
from migration.running.observers import Observers
from migration.shadow.admission import AdmissionControl, HourlyBudget, ShadowCapacity, ShadowLimits
from migration.shadow.comparing import Runs, compared, learned
from migration.shadow.isolated import Home, IsolatedRunner, Shadow
from migration.shadow.live import LIVE_READS, LiveRunner
from migration.shadow.noise import NoiseBook
from migration.shadow.replay import ReplayRunner

CONCURRENT_SHADOWS = 2
"""How many shadows run at once; further ones wait."""

POLL_SECONDS = 0.05
"""How often a waiting shadow asks whether it may begin."""

ENDING = "the process is ending"


class _Waiting(NamedTuple):
    """A shadow in the queue, the bytes of its input, and when it must be over."""

    shadow: Shadow
    size: int
    until: float


class ShadowRunner:
    """Takes sampled calls and reports a comparison for each.

    Args:
        candidates: the loop on which candidates run, for callers and for shadows.
        observers: are told of the comparisons, and see the shadows run.
        limits: what comparing may cost.
        calls: the in-flight calls, for admission control.
        now: the clock, in seconds; it must not go back.
        chance: a random number between 0 and 1.
    """

    def __init__(
        self,
        *,
        candidates: BackgroundLoop,
        observers: Observers,
        limits: ShadowLimits | None = None,
        calls: InFlightCalls | None = None,
        now: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.candidates = candidates
        self.limits = limits or ShadowLimits()
        self.noise = NoiseBook()
        self._observers = observers
        self._calls = calls or InFlightCalls()
        self._now = now
        self._chance = chance
        self._loop = BackgroundLoop("migration-shadow", drain_seconds=2.0)
        self.begin_in_child()
        renew_in_child(self)

    def begin_in_child(self) -> None:
        """Begin with nothing pending; a fork does not carry over what runs."""
        self._lock = threading.Lock()
        self._queue: deque[_Waiting] = deque()
        self._workers = 0
        self._capacity = ShadowCapacity(self.limits.waiting, self.limits.waiting_bytes)
        self._budget = HourlyBudget(self.limits.hourly_bytes, self._now)
        self._admission = AdmissionControl(
            self._calls, share=self.limits.overlap_share, yield_seconds=self.limits.yield_seconds, now=self._now
        )
        self._isolated = IsolatedRunner(self.candidates, self._observers, now=self._now)
        self._replay = ReplayRunner(self._observers, self._isolated)
        self._live = LiveRunner(self._observers, self._isolated)

    @property
    def pending(self) -> int:
        """Shadows that wait or run."""
        return self._capacity.taken

    @property
    def kept(self) -> int:
        """Live shadows of which everything was kept."""
        return self._live.kept

    @property
    def loop(self) -> BackgroundLoop:
        """The event loop on which calls are compared."""
        return self._loop

    def submit(self, shadow: Shadow) -> None:
        """Take a sampled call, or drop it when there is no room. Returns at once and never raises."""
        shadow.home = self.home()
        try:
            size = self._replay.size(shadow)
        except Exception as error:  # noqa: BLE001  # a recording may fail in any way
            self.drop(shadow, f"the size of its input cannot be told: {type(error).__name__}")
            return
        with self._lock:
            refusal = self._admit(_Waiting(shadow, size, self._now() + self.limits.seconds))
            idle = refusal is None and self._workers < CONCURRENT_SHADOWS
            self._workers += idle
        if refusal is not None:
            self.drop(shadow, refusal)
            return
        if shadow.late:
            with suppress(LoopUnavailableError):  # which the worker meets as well
                self._loop.submit(shadow.finish_facts, contextvars.Context())
        if idle:
            self._start_worker()

    def home(self) -> Home | None:
        """The event loop on which an asynchronous legacy is called here."""
        return Home.here()

    def drop(self, shadow: Shadow, why: str) -> None:
        """Report that a sampled call is not compared."""
        self._observers.compared(shadow.dropped(why))

    def drain(self, timeout: float) -> bool:
        """Wait until nothing is pending, at most `timeout` seconds; whether that came true. For tests and demos."""
        until = time.monotonic() + timeout
        while self.pending and time.monotonic() < until:
            time.sleep(0.01)
        return self.pending == 0

    def close(self, timeout: float | None = None) -> None:
        """Finish what can be finished in `timeout` seconds, and stop."""
        self._loop.close(timeout)
        self._drop_queue(ENDING)  # of a loop that could not be stopped

    def _admit(self, waiting: _Waiting) -> str | None:
        refusal = self._isolated.refusal(waiting.shadow)
        if refusal is not None:
            return refusal
        refusal = self._capacity.acquire(waiting.size)
        if refusal is None:
            self._queue.append(waiting)
        return refusal

    def _start_worker(self) -> None:
        try:
            # an empty context: a shadow belongs to no caller's span, deadline or transaction
            self._loop.submit(self._work, contextvars.Context())
        except LoopUnavailableError as error:
            with self._lock:
                self._workers -= 1
            self._drop_queue(f"no shadow can be started: {error}")

    def _drop_queue(self, why: str) -> None:
        with self._lock:
            left = list(self._queue)
            self._queue.clear()
        for waiting in left:
            self._end(waiting, waiting.shadow.dropped(why))

    def _end(self, waiting: _Waiting, comparison: Comparison) -> None:
        try:
            self._observers.compared(comparison)
        finally:
            with self._lock:
                self._capacity.release(waiting.size)

    def _next(self) -> _Waiting | None:
        """What to compare next; None, and one worker fewer, if nothing waits."""
        with self._lock:
            if self._queue:
                return self._queue.popleft()
            self._workers -= 1
            return None

    async def _work(self) -> None:
        """Compare what waits, one after the other, until nothing does."""
        while (waiting := self._next()) is not None:
            # a task of its own: what one shadow puts into its context is not there for the next
            comparing = asyncio.create_task(self._in_time(waiting))
            del waiting  # its arguments are not kept while the next one is waited for
            try:
                await comparing
            except BaseException:
                with self._lock:
                    self._workers -= 1
                self._drop_queue(ENDING)
                raise

    async def _in_time(self, waiting: _Waiting) -> None:
        """Compare, and report whatever comes of it."""
        shadow = waiting.shadow
        try:
            comparison = await self._before_deadline(waiting)
        except (IncompleteFactsError, UnfollowedError) as error:
            comparison = shadow.dropped(str(error))
        except LoopUnavailableError as error:
            comparison = shadow.dropped(f"no shadow can be started: {error}")
        except BaseException as error:
            if is_being_cancelled():
                self._end(waiting, shadow.dropped(ENDING))
                raise
            # a comparison that fails is a dropped one, with its reason
            comparison = shadow.dropped(f"the comparison failed: {type(error).__name__}: {error}")
        self._end(waiting, comparison)

    async def _before_deadline(self, waiting: _Waiting) -> Comparison:
        left = waiting.until - self._now()
        if left <= 0:
            return waiting.shadow.dropped(f"it could not begin within {self.limits.seconds:g} s")
        deadline = asyncio.timeout(left)
        try:
            async with deadline:
                return await self._compare(waiting.shadow, waiting.size)
        except TimeoutError:
            if not deadline.expired():
                raise
            return waiting.shadow.dropped(f"not finished within {self.limits.seconds:g} s")

    async def _compare(self, shadow: Shadow, size: int) -> Comparison:
        await self._admitted()
        with self._admission.running():
            return await self._compare_now(shadow, size)

    async def _compare_now(self, shadow: Shadow, size: int) -> Comparison:
        refusal = self._isolated.refusal(shadow) or self._replay.refusal(shadow)
        if refusal is not None:
            return shadow.dropped(refusal)
        if self._replay.stale(shadow):
            return shadow.comparison(Verdict.STALE_INPUT, detail="the input changed after the call")
        is_real = shadow.migration.mode.is_real
        order = self._order(shadow)
        if not self._budget.take(size * (LIVE_READS if is_real else len(order))):
            return shadow.dropped(f"the {self._budget.limit} bytes that shadows may read within an hour are used up")
        if is_real:
            return await self._live.compared(shadow)

        runs = Runs()
        for side in order:
            runs.add(side, await self._replay.observe(shadow, side))
        if self._replay.stale(shadow):
            return shadow.comparison(Verdict.STALE_INPUT, detail="the input changed during the comparison")
        sample = learned(shadow, runs)
        if sample is not None:
            self.noise.learn(shadow.call.migration, shadow.call.function, sample)
        return compared(shadow, runs, sample, self.noise, self._observers)

    def _order(self, shadow: Shadow) -> tuple[Side, ...]:
        """The sides to run. The one that served runs again too, so that nothing is hashed on the caller's path.

        To learn noise, the candidate and the second run of legacy come after the first one in random order: so both are
        equally likely to differ from it by noise, also by noise that depends on time.
        """
        if self._chance() >= self.limits.noise_share:
            return shadow.side, shadow.side.other
        if self._chance() < 0.5:  # noqa: PLR2004  # a coin
            return Side.LEGACY, Side.CANDIDATE, Side.LEGACY
        return Side.LEGACY, Side.LEGACY, Side.CANDIDATE

    async def _admitted(self) -> None:
        since = self._now()
        while not self._admission.allows(since):  # noqa: ASYNC110  # an event would cost the callers
            await asyncio.sleep(POLL_SECONDS)
