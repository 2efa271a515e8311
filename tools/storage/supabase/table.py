"""The official client's tables, over the shared connection pool."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import aiohttp
import httpx
from supabase import AsyncClient, AsyncClientOptions
from yarl import URL

from shim.http.aiohttp_tap import read_bounded
from shim.http.hidden import HiddenText, hide_api_keys
from tools.engine.pool import get_http_session, proxy_for
from tools.storage.supabase.asking import MAX_ANSWER_BYTES, timeouts
from tools.storage.supabase.terms import TABLE_SECONDS, Target

_HOP_HEADERS = frozenset({"host", "connection", "content-length", "accept-encoding", "transfer-encoding"})
"""What aiohttp sets by itself."""
_UNPACKED_HEADERS = frozenset({"content-encoding", "content-length", "transfer-encoding"})
"""What is no longer true of a body that aiohttp has unpacked."""


hide_api_keys()


@asynccontextmanager
async def table_client(target: Target) -> AsyncIterator[AsyncClient]:
    """A client for one table operation; its connection comes from the pool."""
    async with httpx.AsyncClient(transport=PoolTransport(TABLE_SECONDS), trust_env=False) as http:
        yield AsyncClient(target.url, target.key, options=AsyncClientOptions(httpx_client=http))


class PoolTransport(httpx.AsyncBaseTransport):
    """Lets httpx send through the pool, so that the official client opens no connections of its own."""

    def __init__(self, read_seconds: float) -> None:
        self._read_seconds = read_seconds

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a small request and read its answer.

        Raises:
            httpx.TransportError: as httpx's own transports do; the client retries reading requests.
        """
        session = await get_http_session()
        url = URL(str(request.url), encoded=True)
        sent = request.headers.multi_items()
        headers = [(name, HiddenText(value)) for name, value in sent if name not in _HOP_HEADERS]
        with _httpx_failures(request):
            async with session.request(
                request.method,
                url,
                headers=headers,
                data=await request.aread() or None,
                allow_redirects=False,
                proxy=proxy_for(url),
                timeout=timeouts(self._read_seconds),
            ) as response:
                body = await read_bounded(response, MAX_ANSWER_BYTES)
        if body is None:
            raise httpx.ReadError(f"the answer is longer than {MAX_ANSWER_BYTES} bytes", request=request)
        kept = [(name, value) for name, value in response.headers.items() if name.lower() not in _UNPACKED_HEADERS]
        return httpx.Response(response.status, headers=kept, content=body)


@contextmanager
def _httpx_failures(request: httpx.Request) -> Iterator[None]:
    try:
        yield
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        raise httpx.ConnectError("cannot connect", request=request) from error
    except TimeoutError as error:
        raise httpx.ReadTimeout("no answer in time", request=request) from error
    except aiohttp.ClientError as error:
        raise httpx.ReadError("the connection broke", request=request) from error
