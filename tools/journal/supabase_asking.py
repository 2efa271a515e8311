"""One request of the journal to PostgREST, over a connection that nobody but the journal uses.

It is no request of an upload: neither telemetry nor a comparison sees it, and it takes no upload's connection.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from http import HTTPStatus
from itertools import count
from typing import Any, Final

import aiohttp
from yarl import URL

from shim.http.aiohttp_tap import read_bounded
from shim.http.hidden import HiddenText
from tools.engine.pool import proxy_for
from tools.engine.sockets import new_socket
from tools.engine.tls import ResumingContext, client_context
from tools.journal.errors import JournalError
from tools.journal.supabase_requests import Reply, Request
from tools.settings import MEGABYTE

MAX_CONNECTIONS: Final = 8
"""Connections of the journal of one process; further requests wait for a free one."""

ANSWER_SECONDS: Final = 5.0
"""How long one request may take in all."""

ATTEMPTS: Final = 2
"""So often a request is made whose connection the server closed instead of answering."""

MAX_ANSWER_BYTES: Final = 4 * MEGABYTE
"""A longer answer is not read."""

_SHOWN_CHARACTERS = 200
_NO_TABLE = frozenset({"PGRST205", "42P01"})
_NOT_HERE = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND})
_PASSING = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})


class RemoteError(JournalError):
    """The database could not be asked, or did not do what it was asked."""


class AwayError(RemoteError):
    """The database cannot be reached, is overloaded, or did not answer in time: what was asked may have happened."""


class UnusableError(RemoteError):
    """The database has no such table, or lets nobody in with this key. That lasts until somebody changes it."""


class RefusedError(RemoteError):
    """The database will not do this, however often it is asked."""


class Asker:
    """Asks one Supabase project, from one event loop.

    Args:
        url: address of the project.
        key: a service-role key or a secret key.
    """

    def __init__(self, url: str, key: str) -> None:
        self._url = URL(url).joinpath("rest", "v1")
        self._key = key
        self._session: aiohttp.ClientSession | None = None
        self.address = str(URL(url).origin())

    async def ask(self, table: str, request: Request) -> Reply:
        """Ask something about a table.

        Raises:
            RemoteError: one of its three kinds.
        """
        try:
            status, headers, content = await self._ask(table, request)
        except (aiohttp.ClientError, OSError, RuntimeError) as error:  # the latter: at the interpreter's end
            problem = "it did not answer in time" if isinstance(error, TimeoutError) else type(error).__name__
            raise AwayError(self.address, problem) from error
        if content is None:
            raise RefusedError(self.address, f"the answer is longer than {MAX_ANSWER_BYTES} bytes")
        return self._reply(status, headers, content)

    async def _ask(self, table: str, request: Request) -> tuple[int, Mapping[str, str], bytes | None]:
        """The answer; a kept connection that the server was just closing is not taken for an answer."""
        url = self._url.joinpath(table).with_query(request.query)
        for attempt in count(1):
            try:
                async with self._open_session().request(
                    request.method,
                    url,
                    headers=self._headers(request),
                    json=request.body,
                    allow_redirects=False,  # a redirect would carry the key to somebody else
                    proxy=proxy_for(url),
                ) as response:
                    return response.status, response.headers, await read_bounded(response, MAX_ANSWER_BYTES)
            except aiohttp.ServerDisconnectedError:
                if attempt == ATTEMPTS or request.once:
                    raise
        raise AssertionError("counting has no end")

    async def close(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS, socket_factory=new_socket, ssl=_tls_context()),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS),
            )
        return self._session

    def _headers(self, request: Request) -> dict[str, str]:
        prefer = "count=exact" if request.counted else "return=representation"
        return {"apikey": HiddenText(self._key), "Authorization": HiddenText(f"Bearer {self._key}"), "Prefer": prefer}

    def _reply(self, status: int, headers: Mapping[str, str], content: bytes) -> Reply:
        document = _document(content)
        if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            if not isinstance(document, list) or not all(isinstance(row, Mapping) for row in document):
                raise RefusedError(self.address, "the answer is not a list of rows")
            return Reply(rows=document, total=_total(headers.get("Content-Range", "")))
        code, message = _problem(document, content)
        if status == HTTPStatus.CONFLICT and code == "23505":
            return Reply(conflict=True)
        problem = f"{status} {code}: {message}"
        if code in _NO_TABLE or status in _NOT_HERE or status < HTTPStatus.BAD_REQUEST:
            raise UnusableError(self.address, problem)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _PASSING:
            raise AwayError(self.address, problem)
        raise RefusedError(self.address, problem)


@cache
def _tls_context() -> ResumingContext:
    return client_context()


def _document(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _problem(document: object, content: bytes) -> tuple[str, str]:
    if isinstance(document, Mapping):
        return str(document.get("code")), str(document.get("message"))[:_SHOWN_CHARACTERS]
    return "unexpected answer", content.decode(errors="replace")[:_SHOWN_CHARACTERS].strip()


def _total(content_range: str) -> int:
    """How many rows there are, of `0-0/7`; 0 when they were not counted."""
    total = content_range.rpartition("/")[2]
    return int(total) if total.isdecimal() else 0
