"""What is asked of Supabase, in the terms that its blocking and its asynchronous client share.

Storage answers ordinary errors with status 400 and the true status as text inside:
`{"statusCode":"409","error":"Duplicate","message":"The resource already exists"}`.

A resumable upload is refused with the true status and with the message as plain text
(https://github.com/supabase/storage, `onResponseError`); the rest of Storage's error has to be known. With it, both
kinds of upload are judged by one rule and read the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from http import HTTPStatus
from typing import Any, Final

import aiohttp
import httpx
from postgrest import APIError
from postgrest.constants import DEFAULT_POSTGREST_CLIENT_TIMEOUT
from storage3.constants import DEFAULT_TIMEOUT
from yarl import URL

from tools.settings import MEGABYTE
from tools.storage.placement import (
    Absent,
    BucketMissing,
    CreateBucket,
    Done,
    FoundObject,
    Look,
    Outcome,
    Put,
    Step,
    Stored,
    Taken,
)
from tools.storage.port import (
    ROW_KEY,
    TABLE,
    ProviderName,
    StorageAnswerError,
    StorageConnectionLostError,
    StorageRefusedError,
    StorageTimeoutError,
    StorageUnreachableError,
    UploadRow,
)
from tools.transport.errors import AnswerTooLargeError

RAW_MAX_BYTES: Final = 6 * MEGABYTE
"""A longer file is sent as a resumable upload, which Supabase advises above 6 MB
(https://supabase.com/docs/guides/storage/uploads/resumable-uploads)."""

MAX_ANSWER_BYTES: Final = MEGABYTE
"""A longer answer is not read."""

CACHE_CONTROL: Final = "3600"
"""Seconds. The official client's own default, named here because the asynchronous side sends it too."""

NO_UPSERT: Final = "false"
"""Text, not a truth value: the client accepts nothing else."""

BUCKET_IS_PUBLIC: Final = False

STORAGE_SECONDS: Final = float(DEFAULT_TIMEOUT)
"""The official client's time for one answer of Storage."""

TABLE_SECONDS: Final = float(DEFAULT_POSTGREST_CLIENT_TIMEOUT)
"""The official client's time for one answer of PostgREST."""

RECORD_ACTION: Final = "record the upload in Supabase"
FIND_ACTION: Final = "look up the upload in Supabase"

_DEFAULT_CONTENT_TYPE = "application/octet-stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where to store, and with which right.

    Attributes:
        url: address of the project.
        key: a service-role key or a secret key.
        bucket: the bucket for copies of files.
    """

    url: str
    key: str = field(repr=False)
    bucket: str

    @property
    def address(self) -> str:
        """The address as it may be shown."""
        return str(URL(self.url).origin())


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """A file as Storage gets to know it.

    Attributes:
        content_type: media type of the content.
        metadata: kept with the object; its `sha256` tells whether two objects are the same.
    """

    content_type: str
    metadata: dict[str, str]

    @property
    def metadata_json(self) -> str:
        """The metadata as Storage takes them, in ASCII."""
        return json.dumps(self.metadata)


def describe(*, original_name: str, mime_type: str | None, file_type: str, sha256: str) -> Description:
    """Describe a file. A name that is no UTF-8 is kept readable, not exact: exact is the object's key."""
    readable_name = original_name.encode(errors="replace").decode()
    return Description(
        content_type=mime_type or _DEFAULT_CONTENT_TYPE,
        metadata={"sha256": sha256, "original_name": readable_name, "file_type": file_type},
    )


def action_of(step: Step, bucket: str) -> str:
    """What a step does, for error texts."""
    match step:
        case Put(path=path):
            return f"store {path!r}"
        case Look(path=path):
            return f"look at the stored {path!r}"
        case CreateBucket():
            return f"create the bucket {bucket!r}"


def row_query(client: Any, row: UploadRow) -> Any:
    """Insert a row, or replace the one with the same key. What the table gives by itself is left to it."""
    columns = {name: value for name, value in asdict(row).items() if value is not None}
    return client.table(TABLE).upsert(columns, on_conflict=",".join(ROW_KEY))


def find_query(client: Any, *, sha256: str, provider: ProviderName) -> Any:
    """Ask for the latest completed row of this content and provider."""
    return (
        client.table(TABLE)
        .select("*")
        .eq("sha256", sha256)
        .eq("provider", provider)
        .eq("upload_status", "completed")
        .order("created_at", desc=True)
        .limit(1)
    )


def found_row(rows: list[dict[str, Any]]) -> UploadRow | None:
    """The first row of an answer; columns that are unknown here are left out.

    Raises:
        StorageAnswerError: the table lacks columns.
    """
    if not rows:
        return None
    known: dict[str, Any] = {name: value for name, value in rows[0].items() if name in UploadRow.__dataclass_fields__}
    known["id"] = str(known.get("id"))  # some tables count
    try:
        return UploadRow(**known)
    except TypeError as error:
        raise StorageAnswerError(action=FIND_ACTION, problem=f"the table {TABLE} lacks columns") from error


# What Supabase's answers mean, whichever client received them.

_SHOWN_CHARACTERS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageAnswer:
    """An answer of Storage, read to its end.

    Attributes:
        action: what was asked, for error texts.
        status: HTTP status.
        body: the body.
        headers: the headers; their names are found in any case.
        cause: what the client made of it, if it raised.
    """

    action: str
    status: int
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    cause: Exception | None = None

    def put_outcome(self) -> Outcome:
        """What came of storing an object."""
        if self.succeeded:
            return Stored(object_id=_text(self._document(), "Id"))
        problem = self._problem()
        if problem.status == HTTPStatus.CONFLICT or problem.code == "Duplicate":
            return Taken()
        if problem.status == HTTPStatus.NOT_FOUND and "bucket" in f"{problem.code} {problem.message}".lower():
            return BucketMissing()
        raise problem from self.cause

    def look_outcome(self) -> Outcome:
        """What is stored where it was asked."""
        if self.succeeded:
            return self._found()
        problem = self._problem()
        if problem.status == HTTPStatus.NOT_FOUND:
            return Absent()
        raise problem from self.cause

    def create_outcome(self) -> Outcome:
        """What came of creating the bucket. That another call was quicker is as good."""
        if self.succeeded:
            return Done()
        problem = self._problem()
        if problem.status == HTTPStatus.CONFLICT:
            return Done()
        raise problem from self.cause

    @property
    def succeeded(self) -> bool:
        """Whether Storage did what it was asked."""
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    def _found(self) -> FoundObject:
        document = self._document()
        object_id, size, metadata = document.get("id"), document.get("size"), document.get("metadata")
        if not isinstance(object_id, str) or not isinstance(size, int):
            raise StorageAnswerError(action=self.action, problem="the answer lacks the object's id or size")
        return FoundObject(
            object_id=object_id, size=size, sha256=_text(metadata, "sha256") if isinstance(metadata, Mapping) else None
        )

    def _document(self) -> Mapping[str, object]:
        try:
            document = json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise StorageAnswerError(action=self.action, problem="the answer is not JSON") from error
        if not isinstance(document, dict):
            raise StorageAnswerError(action=self.action, problem="the answer is not a JSON object")
        return document

    def _problem(self) -> StorageRefusedError:
        try:
            document = self._document()
            return StorageRefusedError(
                action=self.action,
                status=int(str(document["statusCode"])),
                code=str(document["error"]),
                message=str(document["message"]),
            )
        except (StorageAnswerError, KeyError, ValueError):
            shown = self.body.decode(errors="replace")[:_SHOWN_CHARACTERS].strip()
            return StorageRefusedError(action=self.action, status=self.status, code="unexpected answer", message=shown)


def _text(document: Mapping[str, object], name: str) -> str | None:
    value = document.get(name)
    return value if isinstance(value, str) and value else None


# What a resumable upload is answered, in the words that Storage has for an upload in one request.

_NAMES = {
    400: "InvalidRequest",
    403: "Unauthorized",
    404: "not_found",
    409: "Duplicate",
    413: "Payload too large",
    415: "invalid_mime_type",
    423: "ResourceLocked",
    429: "too_many_connections",
    500: "Internal",
    503: "SlowDown",
    504: "DatabaseTimeout",
    544: "DatabaseTimeout",
}
"""The error that Storage usually names with a status."""

_TOO_LARGE = "The object exceeded the maximum allowed size"
"""The protocol's library has a sentence of its own for this."""


def in_storages_words(answer: StorageAnswer) -> StorageAnswer:
    """The same refusal as an upload in one request would have met it; what is no refusal of Storage stays as it is."""
    content_type = answer.headers.get("Content-Type", "text/plain")
    if answer.succeeded or not content_type.startswith("text/plain"):
        return answer
    message = answer.body.decode(errors="replace").strip() or "no message"  # the answer to HEAD has none
    if answer.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        message = _TOO_LARGE
    document = {"statusCode": str(answer.status), "error": _name(answer.status, message), "message": message}
    return replace(answer, body=json.dumps(document).encode())


def _name(status: int, message: str) -> str:
    if message.startswith("Invalid key"):
        return "InvalidKey"
    if is_about_the_bucket(status, message):
        return message
    return _NAMES.get(status, "TusError")


def is_about_the_bucket(status: int, message: str) -> bool:
    """Whether the bucket is what was not found."""
    return status == HTTPStatus.NOT_FOUND and "bucket" in message.lower()


# Translates what the clients raise. The texts depend on what happened, not on the client.

_NOT_CONNECTED = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
)
_TIMED_OUT = (httpx.TimeoutException, TimeoutError)
_BROKEN = (httpx.HTTPError, aiohttp.ClientError, OSError)


@contextmanager
def translated(action: str, address: str) -> Iterator[None]:
    """Raise a `StorageError` for what goes wrong on the way to Supabase, and for what PostgREST refuses."""
    try:
        yield
    except _NOT_CONNECTED as error:
        raise StorageUnreachableError(action=action, address=address) from error
    except _TIMED_OUT as error:
        raise StorageTimeoutError(action=action, address=address) from error
    except AnswerTooLargeError as error:
        raise StorageAnswerError(
            action=action, problem=f"the answer is longer than {MAX_ANSWER_BYTES} bytes"
        ) from error
    except _BROKEN as error:
        raise StorageConnectionLostError(action=action, address=address) from error
    except APIError as error:
        raise StorageRefusedError(
            action=action, status=None, code=error.code or "no code", message=error.message or "no message"
        ) from error
