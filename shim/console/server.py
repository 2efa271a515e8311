"""The console's server: the page, its data, and the one action."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from importlib.resources import files
from pathlib import Path

from aiohttp import web

from shim.console.access import Access, ConsoleError, NotTrippedError, RollBack, add_headers, guarded
from shim.console.figures import decision_in_full, trace_in_full
from shim.console.state import ConsoleSources, States
from shim.process import who_acts

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


# The console's server: the page, its data, and the one action.

WINDOWS = (900.0, 120.0, 3600.0, 86_400.0)
"""Seconds that may be looked back; the first is the usual."""

MAX_REQUEST_BYTES = 4096
"""Of what the page may send."""

_PAGE = "index.html"
_TYPES = {".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".svg": "image/svg+xml"}
_TRACE = re.compile(r"[0-9a-f]{32}")


class Console:
    """Serves until it is stopped.

    Args:
        sources: what is shown.
        access: who may.
        port: where it listens; 0 takes a free one.
        every: seconds between two updates of a page.
    """

    def __init__(self, sources: ConsoleSources, access: Access, *, port: int = 0, every: float = ROUND_SECONDS) -> None:
        self._sources = sources
        self._access = access
        self._port = port
        self._states = States(sources, now=time.time)
        self._feed = Feed(self._states.state, every=every)
        self._acting = ThreadPoolExecutor(1, "console-rollback")  # of its own: reading must not delay it
        self._rollback = RollBack(sources.store, sources.switch)
        self._assets = _assets()
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Its address, without the token."""
        host = f"[{self._access.host}]" if ":" in self._access.host else self._access.host
        return f"http://{host}:{self._port}/"

    async def start(self) -> None:
        """Begin to serve.

        Raises:
            ConsoleError: it cannot listen there.
        """
        app = web.Application(middlewares=[guarded(self._access)], client_max_size=MAX_REQUEST_BYTES)
        app.add_routes(
            [
                web.get("/", self._page),
                web.get("/assets/{name}", self._asset),
                web.get("/api/events", self._events),
                web.get("/api/state", self._state),
                web.get("/api/comparisons/{number:[0-9]{1,15}}", self._comparison),
                web.get("/api/decisions/{number:[0-9]{1,15}}", self._decision),
                web.get("/api/traces/{trace}", self._trace),
                web.post("/api/rollback", self._roll_back),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._access.host, self._port)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            other = "--host" if isinstance(error, socket.gaierror) else "--port"
            raise ConsoleError(
                f"the console cannot listen on {self._access.host}, port {self._port}: {error.strerror or error}; "
                f"choose another with {other}"
            ) from error
        self._port = self._runner.addresses[0][1]
        self._rollback.start()

    async def stop(self) -> None:
        """End."""
        await self._feed.close()
        if self._runner is not None:
            await self._runner.cleanup()
        await asyncio.to_thread(self._rollback.close)
        self._acting.shutdown(wait=False)

    # The page

    async def _page(self, _: web.Request) -> web.StreamResponse:
        return _file(self._assets[_PAGE])

    async def _asset(self, request: web.Request) -> web.StreamResponse:
        asset = self._assets.get(request.match_info["name"])
        if asset is None:
            raise web.HTTPNotFound(reason="there is no such part of the page")
        return _file(asset)

    # Its data

    async def _events(self, request: web.Request) -> web.StreamResponse:
        return await self._feed.serve(request, self._key(request))

    async def _state(self, request: web.Request) -> web.StreamResponse:
        return _json(await asyncio.to_thread(self._states.state, *self._key(request)))

    async def _comparison(self, request: web.Request) -> web.StreamResponse:
        number = int(request.match_info["number"])
        found = await asyncio.to_thread(self._sources.ledger.comparison, number)
        if found is None:
            raise web.HTTPNotFound(reason=f"no comparison {number} is recorded any more")
        return _json(asdict(found))

    async def _decision(self, request: web.Request) -> web.StreamResponse:
        number = int(request.match_info["number"])
        found = await asyncio.to_thread(self._sources.store.record, number)
        if found is None:
            raise web.HTTPNotFound(reason=f"there is no decision {number} any more")
        return _json(decision_in_full(found))

    async def _trace(self, request: web.Request) -> web.StreamResponse:
        trace = request.match_info["trace"]
        if not _TRACE.fullmatch(trace):
            raise web.HTTPBadRequest(reason="a trace has 32 hexadecimal figures")
        return _json(await asyncio.to_thread(trace_in_full, self._sources.metrics, trace))

    # The action

    async def _roll_back(self, request: web.Request) -> web.StreamResponse:
        if request.content_type != "application/json":
            raise web.HTTPUnsupportedMediaType(reason="this takes JSON")
        migration, because = self._order(await request.text())
        try:
            done = await asyncio.get_running_loop().run_in_executor(
                self._acting,
                partial(self._rollback.roll_back, migration, because=because, by=f"{who_acts()} (console)"),
            )
        except NotTrippedError as error:
            return _json({"tripped": False, "error": str(error)}, status=500)
        return _json({"tripped": True, "id": done.number, "sentence": done.sentence, "new": done.new})

    def _key(self, request: web.Request) -> Key:
        """What a page asks to be shown."""
        names = self._sources.names()
        migration = request.query.get("migration", names[0] if names else "")
        window = request.query.get("window", f"{WINDOWS[0]:g}")
        if migration and migration not in names:
            raise web.HTTPBadRequest(reason=_known(names))
        if window not in {f"{each:.0f}" for each in WINDOWS}:
            raise web.HTTPBadRequest(reason="that is no stretch of time that can be shown")
        return migration, float(window)

    def _order(self, text: str) -> tuple[str, str]:
        """The migration that is to be rolled back, and why."""
        try:
            document = json.loads(text)
            migration, because = document["migration"], document.get("because", "")
        except (ValueError, KeyError, TypeError, AttributeError):
            raise web.HTTPBadRequest(reason='this takes {"migration": NAME, "because": REASON}') from None
        names = self._sources.names()
        if migration not in names or not isinstance(because, str):
            raise web.HTTPBadRequest(reason=_known(names))
        return migration, because


def _known(names: Sequence[str]) -> str:
    return f"there are {', '.join(names) or 'no migrations'}"


def _assets() -> dict[str, Path]:
    """The files of the page by name: our own, and the charts of the installed plotly."""
    own = (Path(str(each)) for each in files("shim.console").joinpath("page").iterdir())
    charts = Path(str(files("plotly").joinpath("package_data", "plotly.min.js")))
    return {path.name: path for path in (*own, charts) if path.suffix in _TYPES}


def _file(path: Path) -> web.StreamResponse:
    """A file of the page; the browser asks each time whether it has changed."""
    return web.FileResponse(
        path, headers={"Content-Type": f"{_TYPES[path.suffix]}; charset=utf-8", "Cache-Control": "no-cache"}
    )


def _json(document: object, *, status: int = 200) -> web.Response:
    return web.json_response(document, status=status, headers={"Cache-Control": "no-store"})
