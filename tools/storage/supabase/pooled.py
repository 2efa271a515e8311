"""Objects over the shared connection pool, straight to Storage; the file is read while it is sent.

Short files go out as the body of one request, longer ones as resumable uploads. What is left in Storage is what the
official client's form leaves.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from tools.engine.body import FileBody
from tools.engine.pace import Pace
from tools.storage.keys import encode_key
from tools.storage.placement import CreateBucket, Look, Outcome, Put, Step
from tools.storage.supabase.answers import Answer
from tools.storage.supabase.asking import ask
from tools.storage.supabase.terms import (
    BUCKET_IS_PUBLIC,
    CACHE_CONTROL,
    NO_UPSERT,
    RAW_MAX_BYTES,
    STORAGE_SECONDS,
    Description,
    Target,
    action_of,
)
from tools.storage.supabase.tus import ResumableObject

if TYPE_CHECKING:
    from tools.engine.reading import FileSource


class PooledObjects:
    """Places one object: carries out the steps of its plan."""

    def __init__(self, target: Target, source: FileSource, description: Description, pace: Pace) -> None:
        self._target = target
        self._source = source
        self._description = description
        self._pace = pace

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

    async def _put(self, key: str, action: str) -> Answer:
        if self._source.size > RAW_MAX_BYTES or not _fits_a_header(self._description.content_type):
            upload = ResumableObject(
                self._target, self._source, self._description, key=key, action=action, pace=self._pace
            )
            answer = await upload.put()
            if answer is not None:
                return answer
        return await self._put_at_once(key, action)

    async def _put_at_once(self, key: str, action: str) -> Answer:
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
            body=FileBody(self._source, content_type=description.content_type, stall_seconds=STORAGE_SECONDS),
        )


def _fits_a_header(content_type: str) -> bool:
    """Whether a content type can stand in front of a body. As that of a form, Storage would look for a form."""
    return content_type.isascii() and content_type.isprintable() and not content_type.lower().startswith("multipart/")
