"""A loopback server that records what arrives and answers what the primary was answered. It creates nothing."""

from __future__ import annotations

import logging
import secrets
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import BadContentDispositionHeader, web

from shim.http.answers import REFUSED, AnswerBook, arriving, repeated
from shim.http.facts import COMPARED_HEADERS, RequestFacts, RequestTarget, read_request
from shim.http.recording import Exchange

_silent = logging.getLogger(__name__)
_silent.disabled = True
"""A garbled request shows in the comparison; the server's own words about it would quote names of files."""

# the library behind the recorder would quote names of files
warnings.filterwarnings("ignore", category=BadContentDispositionHeader)

Handler = Callable[[web.Request, RequestTarget], Awaitable[web.StreamResponse | None]]


async def _nothing_special(_request: web.Request, _target: RequestTarget) -> web.StreamResponse | None:
    return None


@dataclass(slots=True, kw_only=True)
class LoopbackRecorder:
    """Serves one replay.

    Attributes:
        answers: what the primary was answered.
        credentials: the known credentials, with the names under which they may be shown.
        headers: what is compared of which headers, beside credentials.
        special: asked first about each request; what it answers is not recorded here. None: the request is like others.
        strangeness: which of several answers for one target fits a request best; see `AnswerBook.take`.
        seen: the requests in the order in which they began.
        address: where it serves, while it does: a service is at `address/NAME`.
    """

    answers: AnswerBook
    credentials: Mapping[str, str]
    headers: Mapping[str, Callable[[str], object]] = field(default_factory=lambda: COMPARED_HEADERS)
    special: Handler = _nothing_special
    strangeness: Callable[[RequestFacts], Callable[[Exchange], int]] | None = None
    seen: list[dict[str, object]] = field(default_factory=list)
    address: str = ""
    _prefix: str = field(default_factory=lambda: f"/{secrets.token_hex(8)}/")

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Listen on a free loopback port; on exit every connection is cut."""
        application = web.Application()
        application.router.add_route("*", "/{anything:.*}", self._handle)
        runner = web.AppRunner(application, access_log=None, logger=_silent, shutdown_timeout=0.0)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            host, port = runner.addresses[0][:2]
            self.address = f"http://{host}:{port}{self._prefix.rstrip('/')}"
            yield
        finally:
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if not request.path.startswith(self._prefix):  # another program's request, for what was at this port before
            return web.Response(status=404)
        try:
            async with arriving(request.content):
                return await self._answered(request)
        except TimeoutError:  # what was recorded of the request says that it never was complete
            return web.Response(status=400, text="the body is shorter than announced", headers={"Connection": "close"})

    async def _answered(self, request: web.Request) -> web.StreamResponse:
        service, *rest = request.path.removeprefix(self._prefix).split("/")
        target = RequestTarget(service, request.method, "/" + "/".join(rest))
        if (answered := await self.special(request, target)) is not None:
            return answered
        arrived: dict[str, object] = {
            "service": service,
            "method": target.method,
            "path": target.path,
            "complete": False,
        }
        self.seen.append(arrived)
        found = await read_request(request, target, self.credentials, self.headers)
        arrived.update(found.facts, complete=True)
        answer = self.answers.take(target, None if self.strangeness is None else self.strangeness(found))
        if answer is None or answer.status is None:
            arrived["recorded"] = False
        elif self.answers.is_final(answer):
            arrived[REFUSED] = "for good"
        return repeated(answer)
