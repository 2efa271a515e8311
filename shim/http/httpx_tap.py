"""Makes the requests of `httpx` and `httpx2` visible: the vendors' SDKs and the Supabase client send through them.

The transports' one method is wrapped, which is where OpenTelemetry's own httpx instrumentation sits as well
(https://opentelemetry-python-contrib.readthedocs.io/en/latest/instrumentation/httpx/httpx.html);
it does not know `httpx2`.

Their time-outs are for one read each, so an answer that drips in ends at its sender's pleasure; all of it is held.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from http import HTTPStatus
from types import ModuleType
from typing import Any

import httpx
import httpx2

from migration.forking import new_lock
from shim.http.attempts import answer_instead, begun_attempt, note_begin, note_sent, onlooker
from shim.http.egress import REFUSAL, is_confined, may_ask
from shim.http.recording import Exchange, answer_headers, begun_exchange, observer

_MODULES: tuple[ModuleType, ...] = (httpx, httpx2)
_INSTALLED = "_wire_tap_original"
_installing = new_lock()
_UNSENT = tuple(error for module in _MODULES for error in (module.ConnectError, module.ConnectTimeout))

_LOOKED_ON_BYTES = 256 * 1024
"""While progress is observed, a body goes out in pieces of so many bytes at most; the SDKs hand over whole files."""


def install_httpx_tap() -> None:
    """Wrap the transports of both libraries, once a process."""
    with _installing:
        for module in _MODULES:
            sync_transport, async_transport = module.HTTPTransport, module.AsyncHTTPTransport
            if hasattr(sync_transport, _INSTALLED):
                continue
            setattr(sync_transport, _INSTALLED, sync_transport.handle_request)
            setattr(async_transport, _INSTALLED, async_transport.handle_async_request)
            sync_transport.handle_request = _tapped(sync_transport.handle_request, module)
            async_transport.handle_async_request = _tapped_async(async_transport.handle_async_request, module)


def remove_httpx_tap() -> None:
    """Put the original transports back."""
    for module in _MODULES:
        sync_transport, async_transport = module.HTTPTransport, module.AsyncHTTPTransport
        if hasattr(sync_transport, _INSTALLED):
            sync_transport.handle_request = getattr(sync_transport, _INSTALLED)
            async_transport.handle_async_request = getattr(async_transport, _INSTALLED)
            delattr(sync_transport, _INSTALLED)
            delattr(async_transport, _INSTALLED)


class _Tap:
    """Watches one request from its start to the head of its answer."""

    def __init__(self, request: Any) -> None:
        self.observation = observer().request_started(method=request.method, url=_public(request.url))
        note_begin(method=request.method, url=str(request.url))
        self.attempt = begun_attempt(request.method)
        self.bounds = _bounds.get()
        self.exchange = begun_exchange(request.method, str(request.url))

    def failed(self, error: BaseException) -> None:
        self.observation.finished(status=None, error=error)
        if self.attempt is not None:
            self.attempt.settled = isinstance(error, _UNSENT)

    def answered(self, response: Any, noting_stream: Callable[[Any, Exchange], Any]) -> Any:
        self.observation.finished(status=response.status_code, error=None)
        if self.attempt is not None:
            self.attempt.status = response.status_code
        if self.exchange is not None:
            self.exchange.status = response.status_code
            self.exchange.headers = answer_headers(response.headers)
            response.stream = noting_stream(response.stream, self.exchange)
        return response

    def read(self, request: Any, response: Any, module: ModuleType) -> Any:
        """The answer, read within this context's bounds if it has any; a blocking client waits for it anyway."""
        if self.bounds is None:
            return response
        try:
            body = _within(self.bounds, request, response, module)
        except BaseException:
            response.close()
            raise
        if self.attempt is not None:
            self.attempt.body = body
        headers = [(name, value) for name, value in response.headers.multi_items() if name not in _OF_THE_BODY]
        return module.Response(
            response.status_code, headers=headers, stream=module.ByteStream(body), extensions=_told(response)
        )


def _public(url: Any) -> str:
    """An address without what an observer must not see."""
    return str(url.copy_with(query=None, userinfo=b""))


def _tapped(handle: Callable[[Any, Any], Any], module: ModuleType) -> Callable[[Any, Any], Any]:
    def ask_directly(request: Any) -> Any:
        _check(request, module)
        with module.HTTPTransport(verify=False) as direct:  # the loopback is not encrypted
            response = handle(direct, request)
            return _read(response, b"".join(response.stream), module)

    noting, seen = _noting_stream(module), _seen_stream(module)

    @functools.wraps(handle)
    def handle_request(transport: Any, request: Any) -> Any:
        if is_confined():
            return ask_directly(request)
        _check(request, module)
        instead = answer_instead(request.method)
        if instead is not None:
            return module.Response(HTTPStatus.OK, headers=_JSON, stream=module.ByteStream(instead))
        tap = _Tap(request)
        if onlooker() is not None:
            request.stream = seen(request.stream)
        try:
            response = handle(transport, request)
        except BaseException as error:
            tap.failed(error)
            raise
        return tap.read(request, tap.answered(response, noting), module)

    return handle_request


def _noting_stream(module: ModuleType) -> Callable[[Any, Exchange], Any]:
    class NotingStream(module.SyncByteStream):  # type: ignore[misc,name-defined]  # each library has its own base class
        """Notes an answer's body while it is read."""

        def __init__(self, stream: Any, exchange: Exchange) -> None:
            self._stream = stream
            self._exchange = exchange

        def __iter__(self) -> Iterator[bytes]:
            for piece in self._stream:
                self._exchange.add_body(piece)
                yield piece

        def close(self) -> None:
            self._stream.close()

    return NotingStream


def _seen_stream(module: ModuleType) -> Callable[[Any], Any]:
    class SeenStream(module.SyncByteStream):  # type: ignore[misc,name-defined]  # as above
        """Says how much of a request's body has been taken."""

        def __init__(self, stream: Any) -> None:
            self._stream = stream

        def __iter__(self) -> Iterator[bytes]:
            for whole in self._stream:
                for start in range(0, len(whole), _LOOKED_ON_BYTES):
                    piece = whole[start : start + _LOOKED_ON_BYTES]
                    yield piece
                    note_sent(len(piece))

        def close(self) -> None:
            self._stream.close()

    return SeenStream


def _tapped_async(
    handle: Callable[[Any, Any], Awaitable[Any]], module: ModuleType
) -> Callable[[Any, Any], Awaitable[Any]]:
    class NotingAsyncStream(module.AsyncByteStream):  # type: ignore[misc,name-defined]  # as above
        """Notes an answer's body while it is read."""

        def __init__(self, stream: Any, exchange: Exchange) -> None:
            self._stream = stream
            self._exchange = exchange

        async def __aiter__(self) -> AsyncIterator[bytes]:
            async for piece in self._stream:
                self._exchange.add_body(piece)
                yield piece

        async def aclose(self) -> None:
            await self._stream.aclose()

    async def ask_directly(request: Any) -> Any:
        _check(request, module)
        async with module.AsyncHTTPTransport(verify=False) as direct:
            response = await handle(direct, request)
            return _read(response, b"".join([piece async for piece in response.stream]), module)

    @functools.wraps(handle)
    async def handle_async_request(transport: Any, request: Any) -> Any:
        if is_confined():
            return await ask_directly(request)
        _check(request, module)
        tap = _Tap(request)
        try:
            response = await handle(transport, request)
        except BaseException as error:
            tap.failed(error)
            raise
        return tap.answered(response, NotingAsyncStream)

    return handle_async_request


# In a replay the client's own transport is not used: it may be the one that its client chose for a proxy.


def _check(request: Any, module: ModuleType) -> None:
    if not may_ask(str(request.url)):
        raise module.ConnectError(REFUSAL, request=request)


def _read(response: Any, body: bytes, module: ModuleType) -> Any:
    """The same answer, free of its connection. Answers of a replay are short."""
    return module.Response(
        response.status_code, headers=response.headers, stream=module.ByteStream(body), extensions=_told(response)
    )


def _told(response: Any) -> dict[str, Any]:
    """What an answer says of itself, without what ties it to its connection."""
    return {name: value for name, value in response.extensions.items() if name in {"http_version", "reason_phrase"}}


# Bounds for the answers that `httpx` and `httpx2` read, which have none: neither in length nor in time.

_JSON = {"content-type": "application/json"}
_OF_THE_BODY = frozenset({"content-encoding", "content-length", "transfer-encoding"})


@dataclass(frozen=True, slots=True)
class _Bounds:
    limit: int
    seconds: float


_bounds: ContextVar[_Bounds | None] = ContextVar("answer_bounds", default=None)


MAX_ANSWER_BYTES = 128 * 1024 * 1024
"""A longer answer is not read, where answers have bounds: more text than the largest uploaded file holds."""

ANSWER_SECONDS = 600.0
"""So soon such an answer must be complete after its head: as long as the more patient SDK waits for the head."""


@contextmanager
def answers_within_bounds() -> Iterator[None]:
    """Read the answers of this context's blocking clients within bounds, whatever clients they are.

    One that takes more than `ANSWER_SECONDS` after its head is the library's own `ReadTimeout`. One of more than
    `MAX_ANSWER_BYTES`, decoded, is a `ReadError`; the answer to a `POST` counts as empty instead: after an error the
    vendors' clients would send a file again.
    """
    token = _bounds.set(_Bounds(MAX_ANSWER_BYTES, ANSWER_SECONDS))
    try:
        yield
    finally:
        _bounds.reset(token)


@contextmanager
def answers_as_they_come() -> Iterator[None]:
    """Within `answers_within_bounds`: leave the answers of this context to its clients."""
    token = _bounds.set(None)
    try:
        yield
    finally:
        _bounds.reset(token)


def _within(bounds: _Bounds, request: Any, response: Any, module: ModuleType) -> bytes:
    def too_long(_response: object) -> None:
        if request.method != "POST":
            raise module.ReadError(f"the answer is longer than {bounds.limit} bytes", request=request)

    def too_late() -> Exception:
        return module.ReadTimeout(f"the answer took more than {bounds.seconds:g} s", request=request)  # type: ignore[no-any-return]  # a module's attribute

    return _bounded(response, limit=bounds.limit, seconds=bounds.seconds, too_long=too_long, too_late=too_late)


def bounded_answers(
    *,
    limit: int,
    seconds: float,
    too_long: Callable[[Any], None],
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, list[Callable[[Any], None]]]:
    """Event hooks for a blocking client of `httpx` or `httpx2`, with which it reads every answer within bounds.

    A longer answer than `limit` bytes is closed, and then given to `too_long`, which may raise; if it does not, the
    answer counts as empty. One that takes more than `seconds` after its head is the library's own `ReadTimeout`.
    """

    def read(response: Any) -> None:
        def too_late() -> Exception:
            library = sys.modules[type(response).__module__.partition(".")[0]]
            return library.ReadTimeout(f"the answer took more than {seconds:g} s", request=response.request)  # type: ignore[no-any-return]  # as above

        # what `read()` would set; there is no public way
        response._content = _bounded(  # noqa: SLF001  # see above
            response, limit=limit, seconds=seconds, too_long=too_long, too_late=too_late, clock=clock
        )

    return {"response": [read]}


def _bounded(
    response: Any,
    *,
    limit: int,
    seconds: float,
    too_long: Callable[[Any], None],
    too_late: Callable[[], Exception],
    clock: Callable[[], float] = time.monotonic,
) -> bytes:
    """The decoded body; empty if it is too long and `too_long` does not raise."""
    until = clock() + seconds
    pieces: list[bytes] = []
    length = 0
    for piece in response.iter_bytes():
        pieces.append(piece)
        length += len(piece)
        if length > limit:
            response.close()
            too_long(response)
            return b""
        if clock() > until:
            response.close()
            raise too_late()
    return b"".join(pieces)
