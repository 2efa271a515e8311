"""The background event loop on which candidates run: for callers that block or await, and for shadows."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import logging
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextvars import Context, copy_context
from typing import Any, ParamSpec, TypeVar

from migration.forking import new_lock, renew_in_child
from migration.model.errors import LoopClosedError, LoopUnavailableError
from migration.running.in_flight import place_of
from migration.running.job import LoopJob
from migration.running.propagation import carry_back
from migration.running.workers import Workers
from migration.threads import RETRY_SECONDS as THREAD_RETRY_SECONDS
from migration.threads import BackgroundThread, why_no_loop

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
_logger = logging.getLogger("migration")

CANCEL_SECONDS = 5.0
"""How long a cancelled caller waits for its job to have stopped."""


class BackgroundLoop:
    """One event loop in one daemon thread: started on first need, made again after a fork or a death, drained at exit.

    Where the threads of the process are greenlets it takes no work: they share one running loop, and would wait for it
    in the thread in which it would have to run.

    Args:
        name: name of the thread.
        drain_seconds: at exit, how long running jobs may go on before they are cancelled.
        new_loop: makes the event loop.
    """

    def __init__(
        self,
        name: str,
        *,
        drain_seconds: float = 10.0,
        new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
    ) -> None:
        self._name = name
        self._new_loop = new_loop
        self._drain_seconds = drain_seconds
        self._starters: list[Callable[[], object]] = []
        self._drained: list[Callable[[float | None], object]] = []
        self._closers: list[Callable[[], Awaitable[None]]] = []
        self._lock = new_lock()
        self._thread = BackgroundThread(self._run_loop, name=name)
        self.begin_in_child()
        _loops.add(self)
        renew_in_child(self)

    def begin_in_child(self) -> None:
        """Forget the thread, which a fork does not carry over."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ident: int | None = None
        self._workers: set[int] = set()
        self._giving: set[int] = set()
        self._jobs: dict[concurrent.futures.Future[Any], LoopJob] = {}
        self._started: list[object] = []
        self._blocked = ""
        self._closed = False
        self._stopped = False
        self._refusal = ""
        self._retry_at = 0.0

    @property
    def closed(self) -> bool:
        """Whether no more calls are taken."""
        return self._closed

    @property
    def serves_callers(self) -> bool:
        """Whether a job runs or waits for which a caller waits."""
        return any(not job.shadow for job in list(self._jobs.values()))

    def is_current_thread(self) -> bool:
        """Whether the caller is running on this loop's own thread, where waiting for it would never end."""
        return self._ident == threading.get_ident()

    def owns_current_thread(self) -> bool:
        """Whether it is running there or in a worker of this loop (`asyncio.to_thread`).

        Waiting there for the loop would end only as long as the job waited for finds another worker free.
        """
        return threading.get_ident() in self._workers or self.is_current_thread()

    def on_start(self, starter: Callable[[], object]) -> None:
        """Call `starter` on the loop when it starts; what it returns (a task, say) is kept as long as the loop."""
        self._starters.append(starter)

    def on_drained(self, ended: Callable[[float | None], object]) -> None:
        """Call `ended` with the time-out of `close` once no caller's job runs, while shadows are still taken."""
        self._drained.append(ended)

    def on_close(self, closer: Callable[[], Awaitable[None]]) -> None:
        """Run `closer` on the loop before it stops, for a pool that lives there."""
        self._closers.append(closer)

    def submit(
        self, work: Callable[[], Coroutine[Any, Any, T]], context: Context | None = None, *, shadow: bool = False
    ) -> LoopJob:
        """Run `work()` on the loop, in a copy of the caller's context unless another is given.

        Args:
            work: makes the coroutine.
            context: the context in which it runs.
            shadow: whether no caller waits for it; the end of the process does not, either.

        Raises:
            LoopUnavailableError: it takes no work; nothing of `work` has run.
        """
        job = LoopJob(work, copy_context() if context is None else context, shadow=shadow)
        self._begin(job)
        return job

    def ping(self) -> concurrent.futures.Future[None]:
        """A future that is done when the loop has come round to it. Of a loop that does not run it never is."""
        turned: concurrent.futures.Future[None] = concurrent.futures.Future()
        with contextlib.suppress(RuntimeError):  # the loop is closed
            if self._loop is not None:
                self._loop.call_soon_threadsafe(turned.set_result, None)
        return turned

    def refuse_calls_while_blocked(self) -> str:
        """Take no calls until the loop comes round again, and hand back those that have not begun; where it is now.

        For a loop that a shadow blocks: their callers are served otherwise, as nothing of them has run.
        """
        where = place_of(self._ident)
        self._blocked = f"a shadow blocks it at {where}"
        for job in list(self._jobs.values()):
            if not job.shadow:
                job.hand_back(LoopUnavailableError(self._name, self._blocked))
        with contextlib.suppress(RuntimeError):  # the loop is closed
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._came_round)
        return where

    def _came_round(self) -> None:
        self._blocked = ""

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run `work()` on the loop and wait for it on this thread; an interrupt cancels it.

        Context variables that it sets are set for the caller.

        Raises:
            LoopUnavailableError: as for `submit`.
        """
        context = copy_context()
        job = LoopJob(work, context)
        # A signal handler may call this, too, wherever this thread is. Waiting for the future itself, it could hold the
        # future's lock, for which the loop would wait, for which the handler would wait.
        waited_for = threading.Lock()
        waited_for.acquire()
        job.future.add_done_callback(lambda _future: waited_for.release())
        try:
            self._begin(job)
            waited_for.acquire()
            result: T = job.future.result()
        except BaseException:
            if job.running:
                job.cancel()
                concurrent.futures.wait([job.future], timeout=CANCEL_SECONDS)
            raise
        carry_back(context)
        return result

    async def run_async(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run `work()` on the loop and await it from another one; cancelling cancels it and waits until it has stopped.

        Context variables that it sets are set for the caller.

        Raises:
            LoopUnavailableError: as for `submit`.
        """
        context = copy_context()
        job = self.submit(work, context)
        waiter = asyncio.wrap_future(job.future)
        try:
            result: T = await asyncio.shield(waiter)
        except asyncio.CancelledError:
            if not waiter.done():
                job.cancel()
                await asyncio.wait({waiter}, timeout=CANCEL_SECONDS)
            if waiter.done() and not waiter.cancelled():
                waiter.exception()  # retrieved, so that asyncio does not log it as never retrieved
            raise
        carry_back(context)
        return result

    def close(self, timeout: float | None = None) -> None:
        """Take no more calls, let the running ones finish for `timeout` seconds, cancel the rest, stop the thread."""
        with self._lock:
            already, self._closed = self._closed, True
        if already:
            return
        seconds = self._drain_seconds if timeout is None else timeout
        jobs = [job for job in list(self._jobs.values()) if not job.shadow]
        _, unfinished = concurrent.futures.wait([job.future for job in jobs], timeout=seconds)
        if unfinished:
            _logger.warning(
                "%s: %d jobs did not finish within %.1f s and are cancelled", self._name, len(unfinished), seconds
            )
            _cancel(jobs)
        for ended in self._drained:
            ended(timeout)
        with self._lock:
            self._stopped = True
            loop, jobs = self._loop, list(self._jobs.values())
        if loop is None:
            return
        _cancel(jobs)
        with contextlib.suppress(RuntimeError):  # it has died meanwhile
            closing = asyncio.run_coroutine_threadsafe(self._run_closers(), loop)
            with contextlib.suppress(concurrent.futures.TimeoutError, concurrent.futures.CancelledError):
                closing.result(CANCEL_SECONDS)
            loop.call_soon_threadsafe(loop.stop)
        self._thread.join(CANCEL_SECONDS)
        _give_up(jobs, LoopClosedError(self._name))

    def _begin(self, job: LoopJob) -> None:
        if (why := why_no_loop()) is not None:
            raise LoopUnavailableError(self._name, why)
        thread = threading.get_ident()
        if thread in self._giving:  # a signal handler or a finalizer, which would wait for what it interrupts
            raise LoopUnavailableError(self._name, "the call interrupts one that is being given to it")
        self._giving.add(thread)
        try:
            with self._lock:
                if self._stopped or (self._closed and not job.shadow):
                    raise LoopClosedError(self._name)
                if self._blocked and not job.shadow:
                    raise LoopUnavailableError(self._name, self._blocked)
                loop = self._ensure_started()
                self._jobs[job.future] = job
                job.future.add_done_callback(self._forget)
                job.start(loop)
        finally:
            self._giving.discard(thread)

    def _forget(self, done: concurrent.futures.Future[Any]) -> None:
        self._jobs.pop(done, None)

    def _start_one(self, starter: Callable[[], object]) -> None:
        self._started.append(starter())

    async def _run_closers(self) -> None:
        for closer in self._closers:
            try:
                await closer()
            except Exception:
                _logger.exception("%s: closing failed", self._name)

    def _ensure_started(self) -> asyncio.AbstractEventLoop:
        if self._loop is not None:
            return self._loop
        try:
            _at_exit_before_executors_close()
        except RuntimeError as error:  # the main thread has ended already
            self._closed = self._stopped = True
            raise LoopClosedError(self._name) from error
        if time.monotonic() < self._retry_at:
            raise LoopUnavailableError(self._name, self._refusal)
        try:
            return self._begin_loop()
        except (OSError, RuntimeError, MemoryError) as error:  # no file, thread or memory is left
            self._refusal = str(error) or type(error).__name__
            self._retry_at = time.monotonic() + THREAD_RETRY_SECONDS
            raise LoopUnavailableError(self._name, self._refusal) from error

    def _begin_loop(self) -> asyncio.AbstractEventLoop:
        loop = self._new_loop()
        try:
            self._workers, self._started, self._blocked = set(), [], ""
            workers = Workers(self._name, self._workers)
            loop.set_default_executor(workers)
            workers.submit_for_caller(int).result()  # the first one runs, so that blocking work never lacks a thread
            for starter in self._starters:
                loop.call_soon(self._start_one, starter)
            self._loop = loop
            if not self._thread.start():
                raise RuntimeError(self._thread.refusal or "its thread is being ended")  # noqa: TRY301  # one place cleans up
        except BaseException:
            self._loop = None
            loop.close()
            raise
        return loop

    def _run_loop(self) -> None:
        """In the thread: run the loop until it is stopped or dies. What is left of its jobs ends in any case."""
        loop = self._loop
        if loop is None:
            return
        self._ident = threading.get_ident()
        asyncio.set_event_loop(loop)
        try:
            _run_until_stopped(loop)
        finally:
            with self._lock:  # from now on a call begins another one
                self._loop = None
                self._thread.retire()
                jobs = [job for job in self._jobs.values() if job.is_on(loop)]
            try:
                _end(loop)
            finally:
                if self.is_current_thread():
                    self._ident = None
                _give_up(jobs, LoopUnavailableError(self._name, "its thread has ended"))


def _cancel(jobs: Iterable[LoopJob]) -> None:
    """Cancel what has not ended, and wait for it for at most `CANCEL_SECONDS`."""
    running = [job for job in jobs if not job.future.done()]
    for job in running:
        job.cancel()
    concurrent.futures.wait([job.future for job in running], timeout=CANCEL_SECONDS)


def _give_up(jobs: Iterable[LoopJob], error: LoopUnavailableError) -> None:
    """Let no caller of a loop that does not run wait: with `error` where nothing has run."""
    for job in jobs:
        job.hand_back(error)
        job.give_up()


def _end(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what runs on a loop, and close it."""
    try:
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks, timeout=CANCEL_SECONDS))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


def _run_until_stopped(loop: asyncio.AbstractEventLoop) -> None:
    while True:
        try:
            loop.run_forever()
        except (KeyboardInterrupt, SystemExit) as error:
            # raised by a task, whose own caller gets it; other callers' tasks go on
            _logger.warning("a task raised %s on %s", type(error).__name__, threading.current_thread().name)
        else:
            return


_loops: weakref.WeakSet[BackgroundLoop] = weakref.WeakSet()
_exit_hook_set = False


def _close_all() -> None:
    for loop in list(_loops):
        loop.close()


def _at_exit_before_executors_close() -> None:
    """Drain while reading files is still possible.

    The standard thread pools refuse work from the moment the main thread ends, before `atexit` runs and while other
    threads may still be uploading; this hook is the one they use themselves. Hooks run in reverse order: that of the
    pools was set when this module imported them, and so runs after this one.

    Raises:
        RuntimeError: the main thread has ended already.
    """
    global _exit_hook_set  # noqa: PLW0603  # once a process
    if not _exit_hook_set:
        register = getattr(threading, "_register_atexit", atexit.register)
        register(_close_all)
        _exit_hook_set = True
