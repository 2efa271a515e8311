"""A loopback server that records what arrives and gives the recorded answers again. It creates nothing."""

from __future__ import annotations

import asyncio
import logging
import secrets
import warnings
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import BadContentDispositionHeader, StreamReader, web

from shim.http.facts import COMPARED_HEADERS, RequestFacts, RequestTarget, read_request
from shim.http.recording import SHARED, UNFOLLOWED, Exchange, ExchangeLog

REFUSED = "refused"
"""The field of a recorded request that says that it was refused for good."""


def counted_once(seen: Iterable[dict[str, object]]) -> list[dict[str, object]]:
    """The requests without those that repeat, in every detail, an earlier one that was refused for good."""
    kept: list[dict[str, object]] = []
    refused: list[dict[str, object]] = []
    for request in seen:
        if request in refused:
            continue
        if REFUSED in request:
            refused.append(request)
        kept.append(request)
    return kept


class AnswerBook:
    """The answers by what they were for; each is given once, in the order in which the primary got them.

    Args:
        exchanges: the primary's, with what each was for.
        is_final: whether an answer is a refusal for good: as the last of its kind, it is given for ever.
    """

    def __init__(
        self,
        exchanges: Iterable[tuple[RequestTarget, Exchange]],
        is_final: Callable[[Exchange], bool] = lambda _answer: False,
    ) -> None:
        self.is_final = is_final
        self._answers: defaultdict[RequestTarget, list[Exchange]] = defaultdict(list)
        for target, exchange in exchanges:
            self._answers[target].append(exchange)

    def take(self, target: RequestTarget, strangeness: Callable[[Exchange], int] | None = None) -> Exchange | None:
        """The next answer for `target`; None if the primary never asked (so often).

        Several requests for one target may arrive in any order: the least strange answer is given, of equally strange
        ones the first.
        """
        answers = self._answers[target]
        if not answers:
            return None
        index = 0 if strangeness is None else min(range(len(answers)), key=lambda each: strangeness(answers[each]))
        return answers[index] if len(answers) == 1 and self.is_final(answers[index]) else answers.pop(index)


def why_not_repeatable(log: ExchangeLog) -> str | None:
    """Why the recorded exchanges are not all that a call was answered; None if they are."""
    if log.overflown or any(exchange.truncated for exchange in log.exchanges):
        return "the call's exchanges were too many or too long to be recorded"
    if log.shared:
        return SHARED
    if log.unfollowed:
        return UNFOLLOWED
    if any(exchange.status is None for exchange in log.exchanges):
        return "a request was never answered, so there is no answer to give again"
    return None


_NOT_RECORDED = {"error": {"type": "not_recorded", "message": "the call that is rehearsed did not make this request"}}


def repeated(answer: Exchange | None) -> web.Response:
    """The recorded answer; 501 when there is none."""
    if answer is None or answer.status is None:
        return web.json_response(_NOT_RECORDED, status=501)
    return web.Response(status=answer.status, headers=sendable(answer.headers), body=answer.body)


def sendable(headers: Mapping[str, str]) -> dict[str, str]:
    """The recorded headers, without a wait that a replay need not sit through."""
    kept = dict(headers)
    if "retry-after" in kept:
        kept |= {"retry-after": "0.01", "retry-after-ms": "10"}
    return kept


# How long a replay waits for a side that sends less than it has announced.

STALL_SECONDS = 10.0
"""A side of which nothing more arrives for so long, over the loopback, is not going to send it."""


@asynccontextmanager
async def arriving(body: StreamReader) -> AsyncIterator[None]:
    """Surround what reads a request's body.

    Raises:
        TimeoutError: nothing has arrived for `STALL_SECONDS`, and the body is not complete.
    """
    async with asyncio.timeout(STALL_SECONDS) as timeout:
        watching = asyncio.create_task(_renew(timeout, body))
        try:
            yield
        finally:
            watching.cancel()


async def _renew(bound: asyncio.Timeout, body: StreamReader) -> None:
    """Begin the timeout again whenever something has arrived; end it once all has."""
    seen = -1
    while not body.is_eof():
        if body.total_bytes != seen:
            seen = body.total_bytes
            bound.reschedule(asyncio.get_running_loop().time() + STALL_SECONDS)
        await asyncio.sleep(STALL_SECONDS / 20)
    bound.reschedule(None)


# A loopback server that records what arrives and answers what the primary was answered. It creates nothing.

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
