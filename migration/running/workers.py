"""Threads for blocking work beside an event loop; a thread that the system refuses fails no work."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from queue import Empty
from typing import Generic, ParamSpec, TypeVar

from migration.running.in_flight import inside_a_shadow
from migration.threads import RETRY_SECONDS, greenlets_of, note_refusal

P = ParamSpec("P")
T = TypeVar("T")

MOST_WORKERS = 32
"""Threads of a loop for blocking work, such as reading files; four more than there are processors, if that is fewer."""


class _Pool(ThreadPoolExecutor):
    """A pool in which work waits for the threads that there are, where the system refuses a further one."""

    def __init__(self, name: str, idents: set[int]) -> None:
        self._name = name
        self._retry_at = 0.0
        count = min(MOST_WORKERS, (os.cpu_count() or 1) + 4)
        super().__init__(count, name, lambda: idents.add(threading.get_ident()))

    def _adjust_thread_count(self) -> None:
        """Add a thread for what was just queued, if there is need and none was refused in this second."""
        if time.monotonic() < self._retry_at and self._threads:
            return
        try:
            super()._adjust_thread_count()
        except (RuntimeError, MemoryError) as error:
            self._retry_at = time.monotonic() + RETRY_SECONDS
            note_refusal(self._name, error)
            if not self._threads:
                with suppress(Empty):
                    self._work_queue.get_nowait()  # or a later thread would do it, though it is said to have failed
                raise


class Workers(_Pool):
    """A loop's threads for blocking work; shadows have as many of their own, so that no caller waits behind them.

    Args:
        loop: the name of the loop.
        idents: gets the identity of each thread.
    """

    def __init__(self, loop: str, idents: set[int]) -> None:
        super().__init__(f"{loop}-worker", idents)
        self._for_shadows = _Pool(f"{loop}-shadow-worker", idents)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """As the base class."""
        if inside_a_shadow():
            with suppress(RuntimeError, MemoryError):  # no thread is left for shadows
                return self._for_shadows.submit(fn, *args, **kwargs)
        return super().submit(fn, *args, **kwargs)

    def submit_for_caller(self, fn: Callable[[], T]) -> Future[T]:
        """As `submit`, whoever asks."""
        return super().submit(fn)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002  # the base class's signature
        """As the base class."""
        self._for_shadows.shutdown(wait, cancel_futures=cancel_futures)
        super().shutdown(wait, cancel_futures=cancel_futures)


async def beside_loop(work: Callable[[], T]) -> T:
    """Run blocking work in a thread of the running loop's pool.

    Where there is none to be had it runs at once, on the loop, which waits meanwhile: no thread is left, the pool is
    shut down, or threads are greenlets, which an event loop does not let run.
    """
    if greenlets_of() is not None:
        return work()
    once = _Once(work)
    try:
        running = asyncio.get_running_loop().run_in_executor(None, once)
    except (RuntimeError, MemoryError):
        return once()
    return await running


class _Once(Generic[T]):
    """Work that is done by the first that begins it: an executor without a thread keeps it queued."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work: Callable[[], T] | None = work

    def __call__(self) -> T:
        work, self._work = self._work, None
        return work() if work is not None else None  # type: ignore[return-value]  # asked for by none
