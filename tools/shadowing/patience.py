"""How long a rehearsal waits for a side that sends less than it has announced."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import StreamReader

STALL_SECONDS = 10.0
"""A side of which nothing more arrives for so long, over the loopback, is not going to send it."""


@asynccontextmanager
async def arriving(body: StreamReader) -> AsyncIterator[None]:
    """Surround what reads a request's body.

    Raises:
        TimeoutError: nothing has arrived for `STALL_SECONDS`, and the body is not complete.
    """
    async with asyncio.timeout(STALL_SECONDS) as patience:
        watching = asyncio.create_task(_renew(patience, body))
        try:
            yield
        finally:
            watching.cancel()


async def _renew(patience: asyncio.Timeout, body: StreamReader) -> None:
    """Begin to wait anew whenever something has arrived; for ever once all has."""
    seen = -1
    while not body.is_eof():
        if body.total_bytes != seen:
            seen = body.total_bytes
            patience.reschedule(asyncio.get_running_loop().time() + STALL_SECONDS)
        await asyncio.sleep(STALL_SECONDS / 20)
    patience.reschedule(None)
