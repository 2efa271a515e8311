"""One coroutine on a background loop, and the future by which others wait for it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import inspect
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

from migration.model.errors import (
    LoopUnavailableError,
)


class LoopJob:
    """A coroutine that runs on a background loop; its future is done only when the coroutine has really ended.

    Args:
        work: makes the coroutine.
        context: the context in which it runs.
        shadow: whether no caller waits for it.
    """

    def __init__(self, work: Callable[[], Coroutine[Any, Any, Any]], context: Context, *, shadow: bool = False) -> None:
        self.future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        self.shadow = shadow
        self._work = work
        self._context = context
        self._unclaimed = [None]  # taking from a list is atomic: the job begins, or is handed back
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None

    def is_on(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether it was given to this loop."""
        return self._loop is loop

    def is_current(self) -> bool:
        """Whether its loop is busy with the coroutine right now; asked from another thread."""
        return self._task is not None and asyncio.current_task(self._loop) is self._task

    @property
    def running(self) -> bool:
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

    def hand_back(self, error: LoopUnavailableError) -> None:
        """Fail the future, unless the coroutine has begun; may be called from any thread."""
        if self._unclaimed:
            with contextlib.suppress(IndexError):
                self._unclaimed.pop()
                self.future.set_exception(error)

    def give_up(self) -> None:
        """Fail the future of a coroutine that ignores its cancellation, or whose loop has ended, so that none waits."""
        if self._task is not None and not self._task.done():
            self._task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001  # as `asyncio.gather` does
            coroutine = self._task.get_coro()
            if inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:  # type: ignore[arg-type]  # it is one
                coroutine.close()
        with contextlib.suppress(concurrent.futures.InvalidStateError):  # it has ended after all
            self.future.set_exception(asyncio.CancelledError())

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            self._unclaimed.pop()
        except IndexError:
            return  # handed back
        try:
            self._task = loop.create_task(self._work(), context=self._context)
        except BaseException as error:  # noqa: BLE001  # the caller waits for an answer, and gets this one
            self.future.set_exception(error)
        else:
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
