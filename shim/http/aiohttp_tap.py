"""Makes the requests and the pool of `aiohttp` visible, through its own tracing hooks."""

from __future__ import annotations

import time
from types import SimpleNamespace
from weakref import WeakKeyDictionary

import aiohttp

from shim.http.attempts import note_begin
from shim.http.egress import REFUSAL, may_ask
from shim.http.recording import Exchange, answer_headers, begun_exchange, observer

_noted: WeakKeyDictionary[aiohttp.ClientResponse, Exchange] = WeakKeyDictionary()


async def read_bounded(response: aiohttp.ClientResponse, limit: int) -> bytes | None:
    """Read an answer's body of at most `limit` bytes; None when it is longer.

    Raises:
        aiohttp.ClientError: the connection broke while reading.
        TimeoutError: the session's read time-out passed.
    """
    pieces: list[bytes] = []
    size = 0
    async for piece in response.content.iter_chunked(64 * 1024):
        size += len(piece)
        if size > limit:
            return None
        pieces.append(piece)
    body = b"".join(pieces)
    exchange = _noted.get(response)
    if exchange is not None:
        exchange.add_body(body)
    return body


def trace_config() -> aiohttp.TraceConfig:
    """Hooks for one session: requests, waiting for a connection, connections in use."""
    config = aiohttp.TraceConfig()
    config.on_request_start.append(_request_started)
    config.on_request_end.append(_request_answered)
    config.on_request_exception.append(_request_failed)
    config.on_connection_queued_start.append(_queued)
    config.on_connection_queued_end.append(_unqueued)
    config.on_connection_create_end.append(_connected)
    config.on_connection_reuseconn.append(_connected)
    return config


async def _request_started(
    _session: aiohttp.ClientSession, request: SimpleNamespace, params: aiohttp.TraceRequestStartParams
) -> None:
    request.watcher = observer()
    request.connected = False
    request.observation = request.watcher.request_started(
        method=params.method, url=str(params.url.with_query(None).with_user(None))
    )
    note_begin(method=params.method, url=str(params.url))
    request.exchange = None
    if not may_ask(str(params.url)):
        raise aiohttp.ClientConnectionError(REFUSAL)
    request.exchange = begun_exchange(params.method, str(params.url))


async def _request_answered(
    _session: aiohttp.ClientSession, request: SimpleNamespace, params: aiohttp.TraceRequestEndParams
) -> None:
    response = params.response
    _release(request)
    request.observation.finished(status=response.status, error=None)
    if request.exchange is not None:
        request.exchange.status = response.status
        request.exchange.headers = answer_headers(response.headers)
        # aiohttp hands out the decoded body, so that is what is kept
        request.exchange.headers.pop("content-encoding", None)
        _noted[response] = request.exchange


async def _request_failed(
    _session: aiohttp.ClientSession, request: SimpleNamespace, params: aiohttp.TraceRequestExceptionParams
) -> None:
    _release(request)
    request.observation.finished(status=None, error=params.exception)


async def _queued(
    _session: aiohttp.ClientSession, request: SimpleNamespace, _params: aiohttp.TraceConnectionQueuedStartParams
) -> None:
    request.queued_at = time.perf_counter()


async def _unqueued(
    _session: aiohttp.ClientSession, request: SimpleNamespace, _params: aiohttp.TraceConnectionQueuedEndParams
) -> None:
    request.watcher.pool_waited(seconds=time.perf_counter() - request.queued_at)


async def _connected(_session: aiohttp.ClientSession, request: SimpleNamespace, _params: object) -> None:
    if not request.connected:
        request.connected = True
        request.watcher.pool_in_use(change=1)


def _release(request: SimpleNamespace) -> None:
    if request.connected:
        request.connected = False
        request.watcher.pool_in_use(change=-1)
