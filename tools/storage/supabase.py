"""Supabase through its official blocking client, with a client and a connection for each operation."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx
from storage3.exceptions import StorageApiError
from supabase import Client, ClientOptions, create_client

from shim.http.httpx_tap import bounded_answers
from shim.http.redaction import hide_api_keys
from tools.settings import get_settings
from tools.storage import supabase_pooled as pooled
from tools.storage.placement import (
    CreateBucket,
    Look,
    Outcome,
    Put,
    Step,
    encode_key,
    place,
)
from tools.storage.port import StorageAnswerError
from tools.storage.supabase_terms import (
    BUCKET_IS_PUBLIC,
    CACHE_CONTROL,
    FIND_ACTION,
    MAX_ANSWER_BYTES,
    NO_UPSERT,
    RECORD_ACTION,
    STORAGE_SECONDS,
    TABLE_SECONDS,
    Description,
    StorageAnswer,
    Target,
    action_of,
    describe,
    find_query,
    found_row,
    row_query,
    translated,
)
from tools.transport.loops import SYSTEM_CLOCK, Clock, drive, drive_async

if TYPE_CHECKING:
    from tools.storage.port import ProviderName, UploadRow
    from tools.transport.reading import FileSource

hide_api_keys()


class BlockingObjects:
    """Places one object: carries out the steps of its placement over one connection.

    The client keeps to itself what Storage answered, so the answers are read where they arrive.
    """

    def __init__(self, target: Target, content: bytes, description: Description, http: httpx.Client) -> None:
        self._target = target
        self._content = content
        self._description = description
        http.event_hooks["response"].append(self._keep_answer)
        self._storage = _client(target, http).storage
        self._bucket = self._storage.from_(target.bucket)
        self._answered: httpx.Response | None = None

    def perform(self, step: Step) -> Outcome:
        """Do one step.

        Raises:
            StorageError: Storage refused, could not be reached, or answered nonsense.
        """
        match step:
            case Put(path=path):
                return self._ask(step, lambda: self._put(path)).put_outcome()
            case Look(path=path):
                return self._ask(step, lambda: self._bucket.info(encode_key(path))).look_outcome()
            case CreateBucket():
                return self._ask(step, self._create_bucket).create_outcome()

    def _put(self, path: str) -> object:
        return self._bucket.upload(
            encode_key(path),
            self._content,
            {
                "cache-control": CACHE_CONTROL,
                "content-type": self._description.content_type,
                "x-upsert": NO_UPSERT,
                "metadata": self._description.metadata,
            },
        )

    def _create_bucket(self) -> object:
        return self._storage.create_bucket(self._target.bucket, options={"public": BUCKET_IS_PUBLIC})

    def _ask(self, step: Step, request: Callable[[], object]) -> StorageAnswer:
        action = action_of(step, self._target.bucket)
        self._answered = None
        cause: Exception | None = None
        with translated(action, self._target.address):
            try:
                request()
            except _AnswerTooLongError as error:
                raise StorageAnswerError(action=action, problem=str(error)) from error
            except (StorageApiError, ValueError, LookupError, TypeError) as error:  # the latter: answers it cannot read
                cause = error
        if self._answered is None:
            raise cause or AssertionError("the client asked nothing")
        return StorageAnswer(action=action, status=self._answered.status_code, body=self._answered.content, cause=cause)

    def _keep_answer(self, response: httpx.Response) -> None:
        self._answered = response


@contextmanager
def objects(target: Target, content: bytes, description: Description) -> Iterator[BlockingObjects]:
    """What places one object, over a connection of its own."""
    with _http_client(STORAGE_SECONDS) as http:
        yield BlockingObjects(target, content, description, http)


@contextmanager
def table_client(target: Target) -> Iterator[Client]:
    """A client for one table operation."""
    with _http_client(TABLE_SECONDS) as http:
        yield _client(target, http)


def _http_client(seconds: float) -> httpx.Client:
    """Without HTTP/2, the official client's default, which slices large bodies in quadratic time.

    And without redirects: they would carry the key to another server.
    """
    hooks = bounded_answers(limit=MAX_ANSWER_BYTES, seconds=get_settings().upload_timeout, too_long=_refuse)
    return httpx.Client(http2=False, follow_redirects=False, timeout=seconds, event_hooks=hooks)


class _AnswerTooLongError(httpx.ReadError):
    """An answer was not read to its end. A failure of the client's own kind, so that the table's client takes it."""


def _refuse(response: httpx.Response) -> None:
    raise _AnswerTooLongError(f"the answer is longer than {MAX_ANSWER_BYTES} bytes", request=response.request)


def _client(target: Target, http: httpx.Client) -> Client:
    return create_client(target.url, target.key, options=ClientOptions(httpx_client=http))


# The storage that Supabase is: one rule, carried out by a blocking and by an asynchronous client.


class SupabaseStorage:
    """Keeps copies in a bucket and rows in the monolith's table. Implements `UploadStorage`.

    The blocking side uses the official client, a new one for each operation; the asynchronous side uses the running
    loop's connection pool. Both leave the same in Supabase; `clock` is how time passes for the asynchronous one.
    """

    def __init__(self, *, url: str, key: str, bucket: str, clock: Clock = SYSTEM_CLOCK) -> None:
        self._target = Target(url=url, key=key, bucket=bucket)
        self._clock = clock

    @property
    def target(self) -> Target:
        """Where it stores, and with which right."""
        return self._target

    def moved_to(self, url: str) -> SupabaseStorage:
        """The same storage at another address."""
        return SupabaseStorage(url=url, key=self._target.key, bucket=self._target.bucket, clock=self._clock)

    def upload_file(
        self, file_path: str, file_data: bytes, original_name: str, mime_type: str | None, file_type: str
    ) -> str:
        """See `UploadStorage.upload_file`."""
        digest = hashlib.sha256(file_data).hexdigest()
        description = describe(original_name=original_name, mime_type=mime_type, file_type=file_type, sha256=digest)
        with objects(self._target, file_data, description) as placing:
            return drive(place(file_path, size=len(file_data), sha256=digest), placing.perform)

    async def upload_file_streaming(
        self, file_path: str, source: FileSource, original_name: str, mime_type: str | None, file_type: str
    ) -> str:
        """See `UploadStorage.upload_file_streaming`. Errors of `source` pass through as they are."""
        description = describe(
            original_name=original_name, mime_type=mime_type, file_type=file_type, sha256=source.sha256
        )
        placing = pooled.PooledObjects(self._target, source, description, self._clock)
        return await drive_async(place(file_path, size=source.size, sha256=source.sha256), placing.perform)

    def record_upload(self, row: UploadRow) -> None:
        """See `UploadStorage.record_upload`."""
        with translated(RECORD_ACTION, self._target.address), table_client(self._target) as client:
            row_query(client, row).execute()

    async def record_upload_async(self, row: UploadRow) -> None:
        """See `UploadStorage.record_upload`."""
        with translated(RECORD_ACTION, self._target.address):
            async with pooled.table_client(self._target) as client:
                await row_query(client, row).execute()

    def find_upload(self, *, sha256: str, provider: ProviderName) -> UploadRow | None:
        """See `UploadStorage.find_upload`."""
        with translated(FIND_ACTION, self._target.address), table_client(self._target) as client:
            return found_row(find_query(client, sha256=sha256, provider=provider).execute().data)

    async def find_upload_async(self, *, sha256: str, provider: ProviderName) -> UploadRow | None:
        """See `UploadStorage.find_upload`."""
        with translated(FIND_ACTION, self._target.address):
            async with pooled.table_client(self._target) as client:
                answer = await find_query(client, sha256=sha256, provider=provider).execute()
        return found_row(answer.data)
