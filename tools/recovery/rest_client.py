"""Asks the services about what shadows have made: patiently, and beside both implementations.

A client of its own, so that a broken implementation is not asked about itself.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any

import httpx

from shim.http.egress import behind
from shim.http.recording import hidden, noting
from tools.errors import ToolsError
from tools.settings import MEGABYTE


class ServiceFailedError(ToolsError):
    """A service did not tell, or did not do, what it was asked, in any attempt."""

    def __init__(self, action: str, problem: str) -> None:
        super().__init__(f"{action}: {problem}")


class NoListingError(ToolsError):
    """A provider does not list its files, so what is there is not known."""


# Asks the services about what shadows have made: patiently, and beside both implementations.

ATTEMPTS = 5
"""How often one question is asked until there is an answer."""

FIRST_DELAY_SECONDS = 0.1
"""How long is waited before a question is asked again; doubled each time."""

ANSWER_SECONDS = 10.0
"""How long connecting, or one read of an answer, may take."""

WHOLE_ANSWER_SECONDS = 300.0
"""How long one question may take from the first byte to the last one of its answer."""

MAX_ANSWER_BYTES = 16 * MEGABYTE
"""A longer answer is not read."""

_TRANSIENT = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.LOCKED, HTTPStatus.TOO_MANY_REQUESTS})

Sleep = Callable[[float], Awaitable[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer.

    Attributes:
        status: HTTP status; of Supabase's Storage the true one, which stands inside.
        body: the body.
        date: the header `Date`, empty if there is none.
    """

    status: int
    body: bytes = field(repr=False)
    date: str = ""

    @property
    def succeeded(self) -> bool:
        """Whether the service did what it was asked."""
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    def document(self) -> Any:
        """The body as JSON; None if it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """Length in bytes and hash of some content."""

    length: int
    sha256: str

    @classmethod
    def of(cls, content: bytes) -> Digest:
        """The digest of these bytes."""
        return cls(length=len(content), sha256=hashlib.sha256(content).hexdigest())


class Asker:
    """One client for one trial, or for one clean-up."""

    def __init__(self, client: httpx.AsyncClient, sleep: Sleep) -> None:
        self._client = client
        self.sleep = sleep

    async def ask(
        self,
        action: str,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        params: Mapping[str, str] | None = None,
        document: object = None,
    ) -> Answer:
        """Ask until there is an answer that is no passing failure.

        Raises:
            ServiceFailedError: there was none; `action` says what it was asked for.
        """

        async def attempt() -> Answer:
            request = self._client.build_request(method, url, headers=dict(headers), params=params, json=document)
            response = await self._client.send(request, stream=True)
            try:
                return await _read(response, action)
            finally:
                await response.aclose()

        answer = await self._patiently(action, attempt)
        assert isinstance(answer, Answer)  # noqa: S101  # what `attempt` returns
        return answer

    async def digest_of(self, action: str, url: str, *, headers: Mapping[str, str]) -> Digest | None:
        """Length and hash of what is there, without holding it; None if nothing is.

        Raises:
            ServiceFailedError: the service does not say.
        """

        async def attempt() -> Answer | Digest:
            async with self._client.stream("GET", url, headers=dict(headers)) as response:
                if not response.is_success:
                    return await _read(response, action)
                hasher, length = hashlib.sha256(), 0
                async for piece in response.aiter_bytes():
                    hasher.update(piece)
                    length += len(piece)
                return Digest(length=length, sha256=hasher.hexdigest())

        found = await self._patiently(action, attempt)
        if isinstance(found, Digest):
            return found
        if found.status == HTTPStatus.NOT_FOUND:
            return None
        raise ServiceFailedError(action, f"HTTP {found.status}")

    async def _patiently(self, action: str, attempt: Callable[[], Awaitable[Answer | Digest]]) -> Answer | Digest:
        problem = ""
        for number in range(ATTEMPTS):
            if number:
                await self.sleep(FIRST_DELAY_SECONDS * 2 ** (number - 1))
            try:
                with _beside_the_trial():
                    async with asyncio.timeout(WHOLE_ANSWER_SECONDS):
                        answer = await attempt()
            except (httpx.TransportError, TimeoutError) as error:
                problem = type(error).__name__
                continue
            if isinstance(answer, Digest) or not _passes(answer.status):
                return answer
            problem = f"HTTP {answer.status}"
        raise ServiceFailedError(action, f"{problem}, {ATTEMPTS} times")


@asynccontextmanager
async def asker(sleep: Sleep = asyncio.sleep) -> AsyncIterator[Asker]:
    """Somebody who asks, for as long as this is open. Redirects are not followed: they would carry keys elsewhere."""
    client = httpx.AsyncClient(http2=False, follow_redirects=False, timeout=ANSWER_SECONDS)
    async with client:
        yield Asker(client, sleep)


@contextmanager
def _beside_the_trial() -> Iterator[None]:
    """These requests are not the trial's: they pass its gate, and nobody takes note of them."""
    with behind(None), noting(None), hidden():
        yield


async def _read(response: httpx.Response, action: str) -> Answer:
    body = b""
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > MAX_ANSWER_BYTES:
            raise ServiceFailedError(action, f"the answer is longer than {MAX_ANSWER_BYTES} bytes")
    answer = Answer(status=response.status_code, body=body, date=response.headers.get("date", ""))
    document = answer.document() if response.status_code == HTTPStatus.BAD_REQUEST else None
    inside = document.get("statusCode") if isinstance(document, dict) else None
    return replace(answer, status=int(inside)) if isinstance(inside, str) and inside.isdigit() else answer


def _passes(status: int) -> bool:
    return status in _TRANSIENT or status >= HTTPStatus.INTERNAL_SERVER_ERROR
