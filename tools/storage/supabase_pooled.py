"""Objects over the shared connection pool, straight to Storage; the file is read while it is sent.

Short files go out as the body of one request, longer ones as resumable uploads. What is left in Storage is what the
official client's form leaves.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import aiohttp
import httpx
from supabase import AsyncClient, AsyncClientOptions
from yarl import URL

from shim.http.redaction import HiddenText, hide_api_keys
from tools.storage.placement import CreateBucket, Look, Outcome, Put, Step, encode_key
from tools.storage.supabase_terms import (
    BUCKET_IS_PUBLIC,
    CACHE_CONTROL,
    MAX_ANSWER_BYTES,
    NO_UPSERT,
    RAW_MAX_BYTES,
    STORAGE_SECONDS,
    TABLE_SECONDS,
    Description,
    StorageAnswer,
    Target,
    action_of,
)
from tools.storage.tus import ResumableObject, ask, timeouts
from tools.transport.body import FileBody
from tools.transport.connections import get_http_session
from tools.transport.errors import AnswerTooLargeError
from tools.transport.loops import Clock
from tools.transport.rest import exchange

if TYPE_CHECKING:
    from tools.transport.reading import FileSource


class PooledObjects:
    """Places one object: carries out the steps of its plan."""

    def __init__(self, target: Target, source: FileSource, description: Description, clock: Clock) -> None:
        self._target = target
        self._source = source
        self._description = description
        self._clock = clock

    async def perform(self, step: Step) -> Outcome:
        """Do one step.

        Raises:
            StorageError: Storage refused, could not be reached, or answered nonsense.
            Exception: what reading the file raised.
        """
        action = action_of(step, self._target.bucket)
        match step:
            case Put(path=path):
                return (await self._put(encode_key(path), action)).put_outcome()
            case Look(path=path):
                parts = ("object", "info", self._target.bucket, encode_key(path))
                return (await ask(self._target, "GET", parts, action=action)).look_outcome()
            case CreateBucket():
                name = self._target.bucket
                document = {"id": name, "name": name, "public": BUCKET_IS_PUBLIC}
                return (await ask(self._target, "POST", ("bucket",), action=action, json=document)).create_outcome()

    async def _put(self, key: str, action: str) -> StorageAnswer:
        if self._source.size > RAW_MAX_BYTES or not _fits_a_header(self._description.content_type):
            upload = ResumableObject(
                self._target, self._source, self._description, key=key, action=action, clock=self._clock
            )
            answer = await upload.put()
            if answer is not None:
                return answer
        return await self._put_at_once(key, action)

    async def _put_at_once(self, key: str, action: str) -> StorageAnswer:
        description = self._description
        return await ask(
            self._target,
            "POST",
            ("object", self._target.bucket, key),
            action=action,
            headers={
                "Cache-Control": f"max-age={CACHE_CONTROL}",
                "x-metadata": base64.b64encode(description.metadata_json.encode()).decode(),
                "x-upsert": NO_UPSERT,
            },
            body=FileBody(self._source, content_type=description.content_type, write_timeout=STORAGE_SECONDS),
        )


def _fits_a_header(content_type: str) -> bool:
    """Whether a content type can stand in front of a body. As that of a form, Storage would look for a form."""
    return content_type.isascii() and content_type.isprintable() and not content_type.lower().startswith("multipart/")


# The official client's tables, over the shared connection pool.

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
            answer = await exchange(
                session,
                request.method,
                url,
                limit=MAX_ANSWER_BYTES,
                headers=headers,
                data=await request.aread() or None,
                timeout=timeouts(self._read_seconds),
            )
        kept = [(name, value) for name, value in answer.headers.items() if name.lower() not in _UNPACKED_HEADERS]
        return httpx.Response(answer.status, headers=kept, content=answer.body)


@contextmanager
def _httpx_failures(request: httpx.Request) -> Iterator[None]:
    try:
        yield
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        raise httpx.ConnectError("cannot connect", request=request) from error
    except TimeoutError as error:
        raise httpx.ReadTimeout("no answer in time", request=request) from error
    except AnswerTooLargeError as error:
        raise httpx.ReadError(f"the answer is longer than {MAX_ANSWER_BYTES} bytes", request=request) from error
    except aiohttp.ClientError as error:
        raise httpx.ReadError("the connection broke", request=request) from error
