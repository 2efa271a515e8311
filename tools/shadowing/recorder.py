"""A loopback server that notes what arrives and answers what the primary was answered."""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from aiohttp import web

from tools.shadowing.answers import AnswerBook
from tools.shadowing.facts import RequestFacts, read_request
from tools.shadowing.patience import arriving
from tools.shadowing.repeats import REFUSED, is_final
from tools.shadowing.replies import repeated
from tools.shadowing.services import LISTINGS, Target
from tools.shadowing.storing import RehearsedStorage

_silent = logging.getLogger(__name__)
_silent.disabled = True
"""A garbled request shows in the comparison; the server's own words about it would quote names of files."""


class Recorder:
    """Serves one rehearsal.

    `seen` holds the requests in the order in which they began, and a stored object where it became complete.
    """

    def __init__(self, answers: AnswerBook, credentials: Mapping[str, str]) -> None:
        self._answers = answers
        self._credentials = credentials
        self.address = ""
        self._prefix = f"/{secrets.token_hex(8)}/"
        self.seen: list[dict[str, object]] = []
        self._storage = RehearsedStorage(answers, credentials, self.seen)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Listen on a free loopback port; on exit every connection is cut, whoever still uses it."""
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
        if not request.path.startswith(self._prefix):  # a stranger, who asks for what was at this port before
            return web.Response(status=404)
        try:
            async with arriving(request.content):
                return await self._answered(request)
        except TimeoutError:  # what was noted of the request says that it never was complete
            return web.Response(status=400, text="the body is shorter than announced", headers={"Connection": "close"})

    async def _answered(self, request: web.Request) -> web.StreamResponse:
        service, *rest = request.path.removeprefix(self._prefix).split("/")
        target = Target(service, request.method, "/" + "/".join(rest))
        if target in LISTINGS:
            # After an error the new path looks before it sends again; what the provider refused is not in its list.
            return web.json_response({"object": "list", "data": [], "has_more": False})
        if (answered := await self._storage.answer(request, target)) is not None:
            return answered
        arrived: dict[str, object] = {
            "service": service,
            "method": target.method,
            "path": target.path,
            "complete": False,
        }
        self.seen.append(arrived)
        found: RequestFacts = await read_request(request, target, self._credentials)
        arrived.update(found.facts, complete=True)
        answer = self._answers.take(target, filename=found.filename, size=found.size)
        if answer is None or answer.status is None:
            arrived["recorded"] = False
        if is_final(answer):
            arrived[REFUSED] = "for good"
        return repeated(answer)
