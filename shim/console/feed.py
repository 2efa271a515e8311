"""Live updates: the state as server-sent events, once a second."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping

from aiohttp import web

from shim.console.access import add_headers

ROUND_SECONDS = 1.0
"""Between two events to one page."""

PAGE_SECONDS = 10.0
"""How long a page may leave an event unread; then it makes room for others."""

MAX_PAGES = 16
"""Pages that are open at once."""

Key = tuple[str, float]
"""Which migration, and the seconds that are looked back."""


class Feed:
    """Sends the same state to all pages that show the same; it is made once a round, in a thread.

    Args:
        make: makes a state; blocks.
        every: seconds between two events.
    """

    def __init__(self, make: Callable[[str, float], Mapping[str, object]], *, every: float = ROUND_SECONDS) -> None:
        self._make = make
        self._every = every
        self._pages: set[asyncio.Task[None]] = set()
        self._lock = asyncio.Lock()
        self._latest: dict[Key, tuple[float, bytes]] = {}

    async def serve(self, request: web.Request, key: Key) -> web.StreamResponse:
        """Send events until the page is closed; a slow page gets fewer."""
        if len(self._pages) >= MAX_PAGES:
            raise web.HTTPServiceUnavailable(reason=f"{MAX_PAGES} pages are open already; close one of them")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        add_headers(response)
        await response.prepare(request)
        sending = asyncio.ensure_future(self._send(response, key))
        self._pages.add(sending)
        try:
            await sending
        except (ConnectionResetError, TimeoutError, asyncio.CancelledError):
            sending.cancel()
        finally:
            self._pages.discard(sending)
        return response

    async def close(self) -> None:
        """End all pages' events."""
        for page in list(self._pages):
            page.cancel()

    async def _send(self, response: web.StreamResponse, key: Key) -> None:
        while True:
            began = asyncio.get_running_loop().time()
            document = await self._state(key)
            async with asyncio.timeout(PAGE_SECONDS):
                await response.write(b"event: state\ndata: " + document + b"\n\n")
            await asyncio.sleep(max(0.0, began + self._every - asyncio.get_running_loop().time()))

    async def _state(self, key: Key) -> bytes:
        async with self._lock:
            now = asyncio.get_running_loop().time()
            made_at, document = self._latest.get(key, (-self._every, b""))
            if now - made_at < self._every / 2 and document:
                return document
            document = await asyncio.to_thread(lambda: json.dumps(self._make(*key)).encode())
            self._latest = {other: kept for other, kept in self._latest.items() if now - kept[0] < self._every * 2}
            self._latest[key] = now, document
            return document
