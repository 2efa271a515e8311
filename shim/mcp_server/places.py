"""Bounds how many calls run, and wait, at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

CALLS_AT_ONCE = 4
"""Calls that are worked on. A call that was given up keeps its thread until the upload under way has ended."""

CALLS_WAITING = 16
"""Calls that wait for their turn; further ones are refused."""


class BusyError(Exception):
    """There is no place for another call."""

    def __init__(self) -> None:
        super().__init__(
            f"{CALLS_AT_ONCE} calls are under way and {CALLS_WAITING} are waiting; ask again when one of them has ended"
        )


class Places:
    """Places for calls, and the threads that they work in. Made within the event loop that serves them."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(CALLS_AT_ONCE)
        self._here = 0
        threads = ThreadPoolExecutor(CALLS_AT_ONCE, thread_name_prefix="mcp-call")
        asyncio.get_running_loop().set_default_executor(threads)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Wait for a place and keep it.

        Raises:
            BusyError: too many wait already.
        """
        if self._here >= CALLS_AT_ONCE + CALLS_WAITING:
            raise BusyError
        self._here += 1
        try:
            async with self._free:
                yield
        finally:
            self._here -= 1
