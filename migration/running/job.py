"""One coroutine on the background event loop, as the threads that wait for it see it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any


class Job:
    """A coroutine that runs on a background loop; its future is done only when the coroutine has really ended."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, Any]], context: Context) -> None:
        self.future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        self._work = work
        self._context = context
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None

    @property
    def under_way(self) -> bool:
        """Whether the coroutine has been started and has not ended."""
        return self._loop is not None and not self.future.done()

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start on the loop; may be called from any thread."""
        self._loop = loop
        loop.call_soon_threadsafe(self._start, loop)

    def cancel(self) -> None:
        """Ask the coroutine to stop; may be called from any thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: then the coroutine has ended
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._cancel)

    def give_up(self) -> None:
        """Fail the future while the coroutine still runs: it ignored its cancellation, and nobody may wait forever."""
        with contextlib.suppress(concurrent.futures.InvalidStateError):  # it has ended after all
            self.future.set_exception(asyncio.CancelledError())

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._task = loop.create_task(self._work(), context=self._context)
        self._task.add_done_callback(self._finished)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _finished(self, task: asyncio.Task[Any]) -> None:
        if self.future.done():
            return  # given up
        if task.cancelled():
            self.future.set_exception(asyncio.CancelledError())
        elif (error := task.exception()) is not None:
            self.future.set_exception(error)
        else:
            self.future.set_result(task.result())
