"""Carries out a resumable upload: its steps as requests of the protocol TUS."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import aiohttp
from yarl import URL

from shim.driver import drive_async
from shim.http.recording import Exchange, answer_headers, current_log, noting
from shim.http.redaction import HiddenText
from tools.settings import get_settings
from tools.storage.port import StorageError, StorageTimeoutError
from tools.storage.supabase_terms import (
    CACHE_CONTROL,
    MAX_ANSWER_BYTES,
    NO_UPSERT,
    STORAGE_SECONDS,
    Description,
    StorageAnswer,
    Target,
    in_storages_words,
    translated,
)
from tools.storage.tus_policy import (
    Append,
    Create,
    FindOffset,
    Identify,
    Remove,
    Step,
    Wait,
    upload_resumably,
)
from tools.transport.body import FileBody
from tools.transport.connections import get_http_session
from tools.transport.errors import RequestTimedOutError
from tools.transport.loops import Clock
from tools.transport.rest import exchange

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
    return {"apiKey": HiddenText(target.key), "Authorization": HiddenText(f"Bearer {target.key}")}


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


# Carries out a resumable upload: its steps as requests of the protocol TUS.

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

    async def _perform(self, step: Step) -> StorageAnswer | None:
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
    """Record a whole conversation as one request: what came of it is what a rehearsal repeats."""
    log = current_log()
    if log is not None:
        log.add(exchange)
