"""What is asked of Supabase, in the terms that its blocking and its asynchronous client share."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from postgrest.constants import DEFAULT_POSTGREST_CLIENT_TIMEOUT
from storage3.constants import DEFAULT_TIMEOUT
from yarl import URL

from tools.settings import MEGABYTE
from tools.storage.errors import StorageAnswerError
from tools.storage.placement import CreateBucket, Look, Put, Step
from tools.storage.port import ROW_KEY, TABLE, ProviderName, UploadRow

RAW_MAX_BYTES: Final = 6 * MEGABYTE
"""A longer file is sent as a resumable upload, which Supabase advises above 6 MB
(https://supabase.com/docs/guides/storage/uploads/resumable-uploads)."""

CACHE_CONTROL: Final = "3600"
"""Seconds. The official client's own default, named here because the asynchronous side sends it too."""

NO_UPSERT: Final = "false"
"""Text, not a truth value: the client accepts nothing else."""

BUCKET_IS_PUBLIC: Final = False

STORAGE_SECONDS: Final = float(DEFAULT_TIMEOUT)
"""The official client's patience with one answer of Storage."""

TABLE_SECONDS: Final = float(DEFAULT_POSTGREST_CLIENT_TIMEOUT)
"""The official client's patience with one answer of PostgREST."""

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
