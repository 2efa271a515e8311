"""A thread with an event loop of its own, in which the journal waits for the network so that no caller has to."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, TypeVar

T = TypeVar("T")

STOP_SECONDS: Final = 1.0
"""How long ending the loop may take."""


class LoopThread:
    """Runs coroutines for other threads. It dies with the process; a fork does not carry it over.

    What it runs has none of the caller's context: it belongs to no call's trace, and no comparison notes it.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="upload-journal-remote", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Begin a coroutine, after all that was begun before; never blocks."""
        return contextvars.Context().run(asyncio.run_coroutine_threadsafe, work, self._loop)

    def call(self, work: Callable[[], object]) -> None:
        """Call a function on the loop, after all that was begun before; never blocks."""
        self._loop.call_soon_threadsafe(work, context=contextvars.Context())

    def stop(self, last: Coroutine[Any, Any, None]) -> None:
        """End the loop and its thread, after a last piece of work. Blocks; what does not end dies with the process."""
        with suppress(TimeoutError):
            self.run(_end(last)).result(STOP_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STOP_SECONDS)
        if not self._thread.is_alive():
            self._loop.close()


class Turns:
    """Lets those go one after the other, in the order in which they came, who have the same key."""

    def __init__(self) -> None:
        self._locks: dict[object, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def turn(self, key: object) -> AsyncIterator[None]:
        """Wait for one's turn, and have it."""
        lock, users = self._locks.get(key, (asyncio.Lock(), 0))
        self._locks[key] = lock, users + 1
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks[key]
            if users == 1:
                del self._locks[key]
            else:
                self._locks[key] = lock, users - 1


async def _end(last: Coroutine[Any, Any, None]) -> None:
    """Cancel all that runs, and do a last piece of work."""
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await last
