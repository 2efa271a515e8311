"""Supabase over the shared connection pool: objects straight to Storage, the file read while it is sent; tables.

Short files go out as the body of one request, longer ones as resumable uploads. What is left in Storage is what the
official client's form leaves.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final

import aiohttp
import httpx
from supabase import AsyncClient, AsyncClientOptions
from yarl import URL

from shim.http.recording import Exchange, answer_headers, current_log, noting
from shim.http.redaction import RedactedText, hide_api_keys
from tools.settings import get_settings
from tools.storage.placement import CreateBucket, Look, Outcome, Put, Step, encode_key
from tools.storage.port import StorageError, StorageTimeoutError
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
    in_storages_words,
    translated,
)
from tools.storage.tus_policy import (
    Append,
    Create,
    FindOffset,
    Identify,
    Remove,
    TusStep,
    Wait,
    upload_resumably,
)
from tools.transport.connections import get_http_session
from tools.transport.errors import AnswerTooLargeError, RequestTimedOutError
from tools.transport.loops import Clock, drive_async
from tools.transport.rest import exchange
from tools.transport.upload import FileBody

if TYPE_CHECKING:
    from tools.transport.reading import FileSource


async def ask(
    target: Target,
    method: str,
    parts: tuple[str, ...],
    *,
    action: str,
    headers: Mapping[str, str] | None = None,
    json: object = None,
    body: FileBody | None = None,
) -> StorageAnswer:
    """Ask Storage; `parts` is the path below `/storage/v1`, `action` is for error texts.

    Raises:
        StorageError: Storage could not be reached, or gave no usable answer.
        Exception: what reading the file raised.
    """
    session = await get_http_session()
    url = storage_url(target, *parts)
    with _failures_of(body, action, target.address), translated(action, target.address):
        try:
            answer = await exchange(
                session,
                method,
                url,
                limit=MAX_ANSWER_BYTES,
                headers={**_credentials(target), **(headers or {})},
                json=json,
                data=body,
                timeout=timeouts(STORAGE_SECONDS),
            )
        except BaseException:
            if body is not None:
                await body.give_up()
            raise
    return StorageAnswer(action=action, status=answer.status, headers=answer.headers, body=answer.body)


def _credentials(target: Target) -> dict[str, str]:
    return {"apiKey": RedactedText(target.key), "Authorization": RedactedText(f"Bearer {target.key}")}


def storage_url(target: Target, *parts: str) -> URL:
    """An address below `/storage/v1`; slashes in a part are kept."""
    return URL(target.url).joinpath("storage", "v1", *(name for part in parts for name in part.split("/")))


def timeouts(read_seconds: float) -> aiohttp.ClientTimeout:
    """The official client's time for each answer, and a bound for the whole."""
    settings = get_settings()
    return aiohttp.ClientTimeout(
        total=settings.upload_timeout, sock_connect=settings.upload_connect_timeout, sock_read=read_seconds
    )


@contextmanager
def _failures_of(body: FileBody | None, action: str, address: str) -> Iterator[None]:
    """Raise what kept the body from being written, which aiohttp reports as a broken connection."""
    try:
        yield
    except StorageError as symptom:
        failure = None if body is None else body.failure
        if isinstance(failure, RequestTimedOutError):
            raise StorageTimeoutError(action=action, address=address) from symptom
        if failure is not None:
            raise failure from symptom
        raise


logger = logging.getLogger(__name__)

REMOVAL_SECONDS: Final = 5.0
"""How long removing what has arrived may hold up the end of an upload that failed."""

_UPLOADS = ("upload", "resumable")
_HEADERS = {"Tus-Resumable": "1.0.0", "x-upsert": NO_UPSERT}


class ResumableObject:
    """One object that is sent in pieces.

    Args:
        target: where to.
        source: its content; a piece is read again when it has to be sent again, so nothing is held for that.
        description: what Storage gets to know of it.
        key: its path in the bucket.
        action: for error texts.
        clock: how time passes.
    """

    def __init__(
        self, target: Target, source: FileSource, description: Description, *, key: str, action: str, clock: Clock
    ) -> None:
        self._target = target
        self._source = source
        self._description = description
        self._key = key
        self._action = action
        self._clock = clock

    async def put(self) -> StorageAnswer | None:
        """Upload it; the answer is what an upload in one request would have met.

        None: the server knows no resumable uploads, and nothing was created.

        Raises:
            StorageError: Storage failed for too long, or for longer than `UPLOAD_TIMEOUT` in all.
            Exception: what reading the file raised.
        """
        conversation = Exchange(
            method="POST", url=str(storage_url(self._target, "object", self._target.bucket, self._key))
        )
        try:
            with noting(None):
                answer = await self._in_time()
        except BaseException:
            _note(conversation)
            raise
        if answer is not None:
            conversation.status = answer.status
            conversation.headers = answer_headers(answer.headers)
            conversation.add_body(answer.body)
            _note(conversation)
        return answer

    async def _in_time(self) -> StorageAnswer | None:
        try:
            async with asyncio.timeout(get_settings().upload_timeout):
                return await self._upload()
        except TimeoutError as error:
            raise StorageTimeoutError(action=self._action, address=self._target.address) from error

    async def _upload(self) -> StorageAnswer | None:
        policy = upload_resumably(
            size=self._source.size,
            key=f"{self._target.bucket}/{self._key}",
            action=self._action,
            jitter=self._clock.jitter,
        )
        return await drive_async(policy, self._perform)

    async def _perform(self, step: TusStep) -> StorageAnswer | None:
        match step:
            case Create():
                headers = {"Upload-Length": str(self._source.size), "Upload-Metadata": self._metadata()}
                return await self._ask("POST", headers=headers)
            case Append(upload=upload, offset=offset, length=length):
                piece = FileBody(
                    self._source,
                    content_type="application/offset+octet-stream",
                    start=offset,
                    length=length,
                    write_timeout=STORAGE_SECONDS,
                )
                return await self._ask("PATCH", upload, headers={"Upload-Offset": str(offset)}, body=piece)
            case FindOffset(upload=upload):
                return await self._ask("HEAD", upload)
            case Identify():
                parts = ("object", "info", self._target.bucket, self._key)
                return await ask(self._target, "GET", parts, action=self._action)
            case Remove(upload=upload):
                await self._remove(upload)
            case Wait(seconds=seconds):
                await self._clock.sleep(seconds)
        return None

    async def _ask(
        self, method: str, *upload: str, headers: Mapping[str, str] | None = None, body: FileBody | None = None
    ) -> StorageAnswer:
        answer = await ask(
            self._target,
            method,
            (*_UPLOADS, *upload),
            action=self._action,
            headers={**_HEADERS, **(headers or {})},
            body=body,
        )
        return in_storages_words(answer)

    async def _remove(self, upload: str) -> None:
        try:
            async with asyncio.timeout(REMOVAL_SECONDS):
                await self._ask("DELETE", upload)
        except (StorageError, TimeoutError):
            logger.warning("an unfinished upload to %s could not be removed", self._target.address)

    def _metadata(self) -> str:
        described = {
            "bucketName": self._target.bucket,
            "objectName": self._key,
            "contentType": self._description.content_type,
            "cacheControl": CACHE_CONTROL,
            "metadata": self._description.metadata_json,
        }
        return ",".join(f"{name} {base64.b64encode(text.encode()).decode()}" for name, text in described.items())


def _note(exchange: Exchange) -> None:
    """Record a whole conversation as one request: what came of it is what a replay repeats."""
    log = current_log()
    if log is not None:
        log.add(exchange)


# Objects over the shared connection pool, straight to Storage; the file is read while it is sent.


class PooledObjects:
    """Places one object: carries out the steps of its placement."""

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
    """Whether a content type can precede a body. As that of a form, Storage would look for a form."""
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
        headers = [(name, RedactedText(value)) for name, value in sent if name not in _HOP_HEADERS]
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
