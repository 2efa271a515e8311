"""Supabase over the shared connection pool: objects straight to Storage, rows through the official client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import aiohttp
import httpx
from supabase import AsyncClient, AsyncClientOptions
from yarl import URL

from tools.engine.errors import RequestTimedOutError
from tools.engine.form import FileForm
from tools.engine.pool import get_http_session, proxy_for
from tools.settings import MEGABYTE, get_settings
from tools.storage.errors import StorageAnswerError, StorageError, StorageTimeoutError
from tools.storage.keys import encode_key
from tools.storage.placement import CreateBucket, Look, Outcome, Put, Step
from tools.storage.supabase.answers import Answer
from tools.storage.supabase.failures import translated
from tools.storage.supabase.form import object_form
from tools.storage.supabase.terms import (
    BUCKET_IS_PUBLIC,
    NO_UPSERT,
    STORAGE_SECONDS,
    TABLE_SECONDS,
    Description,
    Target,
    action_of,
)
from tools.wire.aiohttp_tap import read_bounded

if TYPE_CHECKING:
    from tools.engine.reading import FileSource

MAX_ANSWER_BYTES = MEGABYTE
"""A longer answer is not read."""

_HOP_HEADERS = frozenset({"host", "connection", "content-length", "accept-encoding", "transfer-encoding"})
"""What aiohttp sets by itself."""
_UNPACKED_HEADERS = frozenset({"content-encoding", "content-length", "transfer-encoding"})
"""What is no longer true of a body that aiohttp has unpacked."""


class PooledObjects:
    """Places one object: sends what the official client would send, reading the file while it is sent."""

    def __init__(self, target: Target, source: FileSource, description: Description) -> None:
        self._target = target
        self._source = source
        self._description = description

    async def perform(self, step: Step) -> Outcome:
        """Do one step.

        Raises:
            StorageError: Storage refused, could not be reached, or answered nonsense.
            Exception: what reading the file raised.
        """
        match step:
            case Put(path=path):
                return (await self._put(step, path)).put_outcome()
            case Look(path=path):
                parts = ("object", "info", self._target.bucket, *encode_key(path).split("/"))
                return (await self._ask(step, "GET", parts)).look_outcome()
            case CreateBucket():
                name = self._target.bucket
                document = {"id": name, "name": name, "public": BUCKET_IS_PUBLIC}
                return (await self._ask(step, "POST", ("bucket",), json=document)).create_outcome()

    async def _put(self, step: Step, path: str) -> Answer:
        key = encode_key(path).split("/")
        form = object_form(self._source, filename=key[-1], description=self._description)
        try:
            return await self._ask(
                step, "POST", ("object", self._target.bucket, *key), headers={"x-upsert": NO_UPSERT}, data=form
            )
        except BaseException as symptom:
            await form.give_up()
            if isinstance(form.failure, RequestTimedOutError):
                action = action_of(step, self._target.bucket)
                raise StorageTimeoutError(action=action, address=self._target.address) from symptom
            if form.failure is not None and isinstance(symptom, StorageError):
                raise form.failure from symptom
            raise

    async def _ask(
        self,
        step: Step,
        method: str,
        parts: tuple[str, ...],
        *,
        headers: Mapping[str, str] | None = None,
        json: object = None,
        data: FileForm | None = None,
    ) -> Answer:
        action = action_of(step, self._target.bucket)
        session = await get_http_session()
        url = URL(self._target.url).joinpath("storage", "v1", *parts)
        with translated(action, self._target.address):
            async with session.request(
                method,
                url,
                headers=self._credentials() | dict(headers or {}),
                json=json,
                data=data,
                allow_redirects=False,  # a redirect would carry the key to somebody else
                proxy=proxy_for(url),
                timeout=_timeouts(STORAGE_SECONDS),
            ) as response:
                body = await read_bounded(response, MAX_ANSWER_BYTES)
        if body is None:
            raise StorageAnswerError(action=action, problem=f"the answer is longer than {MAX_ANSWER_BYTES} bytes")
        return Answer(action=action, status=response.status, body=body)

    def _credentials(self) -> dict[str, str]:
        return {"apiKey": self._target.key, "Authorization": f"Bearer {self._target.key}"}


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
        headers = [(name, value) for name, value in request.headers.multi_items() if name not in _HOP_HEADERS]
        with _httpx_failures(request):
            async with session.request(
                request.method,
                url,
                headers=headers,
                data=await request.aread() or None,
                allow_redirects=False,
                proxy=proxy_for(url),
                timeout=_timeouts(self._read_seconds),
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


def _timeouts(read_seconds: float) -> aiohttp.ClientTimeout:
    """The official client's patience with each answer, and a bound for the whole."""
    settings = get_settings()
    return aiohttp.ClientTimeout(
        total=settings.upload_timeout, sock_connect=settings.upload_connect_timeout, sock_read=read_seconds
    )
