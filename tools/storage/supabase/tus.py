"""Carries out a resumable upload: its steps as requests of the protocol TUS."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from shim.http.exchanges import Exchange, answer_headers, current_log, noting
from tools.engine.body import FileBody
from tools.engine.pace import Pace
from tools.settings import get_settings
from tools.storage.errors import StorageError, StorageTimeoutError
from tools.storage.supabase.answers import Answer
from tools.storage.supabase.asking import ask, storage_url
from tools.storage.supabase.resumable import (
    Append,
    Create,
    FindOffset,
    Identify,
    Pause,
    Remove,
    Step,
    upload_resumably,
)
from tools.storage.supabase.terms import CACHE_CONTROL, NO_UPSERT, STORAGE_SECONDS, Description, Target
from tools.storage.supabase.wording import in_storages_words

if TYPE_CHECKING:
    from tools.engine.reading import FileSource

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
        pace: how time passes.
    """

    def __init__(
        self, target: Target, source: FileSource, description: Description, *, key: str, action: str, pace: Pace
    ) -> None:
        self._target = target
        self._source = source
        self._description = description
        self._key = key
        self._action = action
        self._pace = pace

    async def put(self) -> Answer | None:
        """Upload it; the answer is what an upload in one request would have met.

        None: the server knows no resumable uploads, and nothing was created.

        Raises:
            StorageError: Storage failed for too long, or for longer than `UPLOAD_TIMEOUT` in all.
            Exception: what reading the file raised.
        """
        exchange = Exchange(method="POST", url=str(storage_url(self._target, "object", self._target.bucket, self._key)))
        try:
            with noting(None):
                answer = await self._in_time()
        except BaseException:
            _note(exchange)
            raise
        if answer is not None:
            exchange.status = answer.status
            exchange.headers = answer_headers(answer.headers)
            exchange.add_body(answer.body)
            _note(exchange)
        return answer

    async def _in_time(self) -> Answer | None:
        try:
            async with asyncio.timeout(get_settings().upload_timeout):
                return await self._carry_out()
        except TimeoutError as error:
            raise StorageTimeoutError(action=self._action, address=self._target.address) from error

    async def _carry_out(self) -> Answer | None:
        plan = upload_resumably(
            size=self._source.size,
            key=f"{self._target.bucket}/{self._key}",
            action=self._action,
            jitter=self._pace.jitter,
        )
        try:
            step = next(plan)
            while True:
                try:
                    answer = await self._perform(step)
                except BaseException as error:  # noqa: BLE001  # the plan raises it again, after it has tidied up
                    step = plan.throw(error)
                else:
                    step = plan.send(answer)
        except StopIteration as finished:
            result: Answer | None = finished.value
            return result

    async def _perform(self, step: Step) -> Answer | None:
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
                    stall_seconds=STORAGE_SECONDS,
                )
                return await self._ask("PATCH", upload, headers={"Upload-Offset": str(offset)}, body=piece)
            case FindOffset(upload=upload):
                return await self._ask("HEAD", upload)
            case Identify():
                parts = ("object", "info", self._target.bucket, self._key)
                return await ask(self._target, "GET", parts, action=self._action)
            case Remove(upload=upload):
                await self._remove(upload)
            case Pause(seconds=seconds):
                await self._pace.sleep(seconds)
        return None

    async def _ask(
        self, method: str, *upload: str, headers: Mapping[str, str] | None = None, body: FileBody | None = None
    ) -> Answer:
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
    """Note a whole conversation as the one request that it stands for: what came of it is what a rehearsal repeats."""
    log = current_log()
    if log is not None:
        log.add(exchange)
