"""REST over HTTP with bounds: seconds and attempts of a request, bytes of an answer. Redirects are never followed.

`exchange` is one request over a given session; every HTTP request of this program that `aiohttp` sends goes through it.
`RestClient` has connections of its own, which telemetry and comparisons do not see and uploads do not share, and
retries.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from email.message import Message
from email.utils import mktime_tz, parsedate_tz
from http import HTTPStatus
from typing import Any, Final, Self, TypeVar

import aiohttp
from tenacity import AsyncRetrying, RetryCallState, RetryError, stop_after_attempt
from yarl import URL

from shim.http.aiohttp_tap import read_bounded
from tools.transport.connections import ResumingContext, new_socket, proxy_for, tls_context
from tools.transport.errors import AnswerTooLargeError, HttpStatusError, UnansweredError
from tools.transport.loops import retry_delay, run_in_thread

MAX_CONNECTIONS: Final = 8
"""Connections of one client; further requests wait for a free one."""

PIECE_BYTES: Final = 64 * 1024

_TRANSIENT = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.LOCKED, HTTPStatus.TOO_MANY_REQUESTS})

Sleep = Callable[[float], Awaitable[object]]
R = TypeVar("R")


def is_transient(status: int) -> bool:
    """Whether a refusal with this HTTP status may be different a little later."""
    return status in _TRANSIENT or (status >= HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.NOT_IMPLEMENTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class RestAnswer:
    """An HTTP answer, read to its end.

    Attributes:
        where: method and address that it answers, without query.
        status: HTTP status.
        headers: the headers; their names are found in any case.
        body: the body, unpacked.
    """

    where: str
    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def succeeded(self) -> bool:
        """Whether the status is 2xx."""
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    @property
    def text(self) -> str:
        """The body as text; bytes that are none are replaced."""
        return self.body.decode(_charset(self.headers.get("Content-Type", "")), errors="replace")

    def document(self) -> Any:
        """The body as JSON; None if it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    def server_time(self) -> float:
        """The server's time when it answered, in seconds since the epoch; ours if it does not tell."""
        moment = parsedate_tz(self.headers.get("Date", ""))
        return time.time() if moment is None else mktime_tz(moment)

    def raise_for_status(self) -> None:
        """Raise the fitting `HttpStatusError` unless the status is 2xx."""
        if not self.succeeded:
            headers = {name.lower(): value for name, value in self.headers.items()}
            raise HttpStatusError.of(where=self.where, status=self.status, text=self.text, headers=headers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """Length in bytes and hash of some content."""

    length: int
    sha256: str

    @classmethod
    def of(cls, content: bytes) -> Digest:
        """The digest of these bytes."""
        return cls(length=len(content), sha256=hashlib.sha256(content).hexdigest())


def public(url: URL) -> str:
    """An address as it may be shown: a query or a user part may hold credentials."""
    return str(url.with_query(None).with_fragment(None).with_user(None))


async def exchange(session: aiohttp.ClientSession, method: str, url: URL, *, limit: int, **request: Any) -> RestAnswer:
    """Send one request and read its answer; `request` holds what `session.request` takes besides: `timeout`, ...

    Raises:
        AnswerTooLargeError: the answer is longer than `limit` bytes.
        aiohttp.ClientError, OSError, TimeoutError: the request failed.
    """
    async with _asked(session, method, url, **request) as response:
        return await _read(response, method, limit)


@asynccontextmanager
async def _asked(
    session: aiohttp.ClientSession, method: str, url: URL, **request: Any
) -> AsyncIterator[aiohttp.ClientResponse]:
    # a redirect would carry the body and the key to another server
    async with session.request(method, url, allow_redirects=False, proxy=proxy_for(url), **request) as response:
        yield response


async def _read(response: aiohttp.ClientResponse, method: str, limit: int) -> RestAnswer:
    where = f"{method} {public(response.url)}"
    body = await read_bounded(response, limit)
    if body is None:
        raise AnswerTooLargeError(f"{where}: the answer is longer than {limit} bytes")
    return RestAnswer(where=where, status=response.status, headers=response.headers, body=body)


def _charset(content_type: str) -> str:
    message = Message()
    message["content-type"] = content_type
    charset = message.get_content_charset("utf-8")
    try:
        "".encode(charset)
    except LookupError:
        return "utf-8"
    return charset


@dataclass(frozen=True, slots=True, kw_only=True)
class RestPolicy:
    """The bounds of a client.

    Attributes:
        seconds: of one attempt, from the first byte to the last one of its answer.
        read_seconds: of connecting, or of one read of an answer; None: `seconds`.
        max_bytes: of an answer that is held in memory.
        attempts: of one request.
        first_delay: seconds before the second attempt, doubled with each further one.
        longest_delay: seconds before any attempt at most, also when the server advises more.
        retried: the errors after which a request is sent again.
        transient: the statuses after which a request is sent again.
        read_status: makes of an answer the one that is meant, where a service hides its status in the body.
    """

    seconds: float
    max_bytes: int
    read_seconds: float | None = None
    attempts: int = 1
    first_delay: float = 0.0
    longest_delay: float = 10.0
    retried: tuple[type[BaseException], ...] = (aiohttp.ClientError, OSError)
    transient: Callable[[int], bool] = is_transient
    read_status: Callable[[RestAnswer], RestAnswer] = lambda answer: answer

    def timeout(self) -> aiohttp.ClientTimeout:
        """The bounds in seconds, as aiohttp takes them."""
        return aiohttp.ClientTimeout(total=self.seconds, sock_connect=self.read_seconds, sock_read=self.read_seconds)


class RestClient:
    """Sends requests from one event loop, with bounds and retries. Close it, or use it with `async with`.

    Args:
        policy: the bounds.
        sleep: waits so many seconds; replaced by tests.
    """

    def __init__(self, policy: RestPolicy, *, sleep: Sleep = asyncio.sleep) -> None:
        self.policy = policy
        self.sleep = sleep
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def ask(
        self,
        method: str,
        url: URL | str,
        *,
        headers: Mapping[str, str],
        params: Mapping[str, str] | None = None,
        document: object = None,
        once: bool = False,
    ) -> RestAnswer:
        """Send a request until there is an answer that is no transient failure; `once`: do not repeat it.

        Raises:
            UnansweredError: there was none in any attempt.
            AnswerTooLargeError: the answer is longer than the policy allows.
        """
        policy, address = self.policy, URL(url)

        async def attempt() -> RestAnswer:
            answer = await exchange(
                await self._open_session(),
                method,
                address,
                limit=policy.max_bytes,
                timeout=policy.timeout(),
                headers=headers,
                params=params,
                json=document,
            )
            return policy.read_status(answer)

        return await self._retried(attempt, attempts=1 if once else policy.attempts)

    async def digest(self, url: URL | str, *, headers: Mapping[str, str]) -> Digest | RestAnswer:
        """Length and hash of what is at an address, without holding it; the answer if it is no success.

        Raises:
            UnansweredError: there was no answer in any attempt.
        """
        policy, address = self.policy, URL(url)

        async def attempt() -> Digest | RestAnswer:
            session = await self._open_session()
            async with _asked(session, "GET", address, timeout=policy.timeout(), headers=headers) as response:
                if not response.ok:
                    return policy.read_status(await _read(response, "GET", policy.max_bytes))
                hasher, length = hashlib.sha256(), 0
                async for piece in response.content.iter_chunked(PIECE_BYTES):
                    hasher.update(piece)
                    length += len(piece)
                return Digest(length=length, sha256=hasher.hexdigest())

        return await self._retried(attempt, attempts=policy.attempts)

    async def _retried(self, attempt: Callable[[], Awaitable[R]], *, attempts: int) -> R:
        async def wait(seconds: float) -> None:
            await self.sleep(seconds)

        retrying = AsyncRetrying(
            stop=stop_after_attempt(attempts), wait=self._delay, retry=self._is_to_be_retried, sleep=wait
        )
        try:
            return await retrying(attempt)
        except RetryError as error:
            failure = error.last_attempt.exception()
            problem = f"HTTP {error.last_attempt.result().status}" if failure is None else _named(failure)
            raise UnansweredError(problem, attempts=error.last_attempt.attempt_number) from failure
        except (aiohttp.ClientError, OSError) as error:
            raise UnansweredError(_named(error), attempts=int(retrying.statistics["attempt_number"])) from error

    def _is_to_be_retried(self, state: RetryCallState) -> bool:
        assert state.outcome is not None  # noqa: S101  # tenacity asks after an attempt
        error = state.outcome.exception()
        if error is not None:
            return isinstance(error, self.policy.retried)
        answer = state.outcome.result()
        return isinstance(answer, RestAnswer) and self.policy.transient(answer.status)

    def _delay(self, state: RetryCallState) -> float:
        assert state.outcome is not None  # noqa: S101  # likewise
        failed = state.outcome.failed
        advised = "" if failed else state.outcome.result().headers.get("Retry-After", "")
        return retry_delay(
            state.attempt_number, first=self.policy.first_delay, longest=self.policy.longest_delay, advised=advised
        )

    async def _open_session(self) -> aiohttp.ClientSession:
        return self._session or self._opened(await run_in_thread(tls_context))

    def _opened(self, tls: ResumingContext) -> aiohttp.ClientSession:
        if self._session is None:  # another task may have opened it meanwhile
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS, socket_factory=new_socket, ssl=tls),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session


def _named(error: BaseException) -> str:
    return "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__


def status_within(answer: RestAnswer) -> RestAnswer:
    """The answer with Supabase Storage's true status, which it puts into the body of an answer with status 400."""
    document = answer.document() if answer.status == HTTPStatus.BAD_REQUEST else None
    inside = document.get("statusCode") if isinstance(document, dict) else None
    return replace(answer, status=int(inside)) if isinstance(inside, str) and inside.isdigit() else answer
