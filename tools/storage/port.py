"""What the upload paths ask of a storage: keep a copy of the file, and keep track of what was uploaded where."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from tools.errors import ToolsError

if TYPE_CHECKING:
    from tools.transport.reading import FileSource


class StorageError(ToolsError):
    """A storage could not do what it was asked to do."""


class StorageRefusedError(StorageError):
    """The storage answered, and the answer was no.

    `status` is the HTTP status, as far as it is known.
    """

    def __init__(self, *, action: str, status: int | None, code: str, message: str) -> None:
        self.action = action
        self.status = status
        self.code = code
        self.message = message
        what = code if status is None else f"{status} {code}"
        super().__init__(f"{action}: {what}: {message}")


class StorageUnansweredError(StorageError):
    """There was no answer of the storage at `address`."""

    problem = "{} did not answer"

    def __init__(self, *, action: str, address: str) -> None:
        self.action = action
        self.address = address
        super().__init__(f"{action}: {self.problem.format(address)}")


class StorageUnreachableError(StorageUnansweredError):
    """No connection to the storage was made: nothing was sent."""

    problem = "cannot connect to {}"


class StorageTimeoutError(StorageUnansweredError):
    """The storage did not answer in time: what was asked may have happened."""

    problem = "{} did not answer in time"


class StorageConnectionLostError(StorageUnansweredError):
    """The connection broke before the answer: what was asked may have happened."""

    problem = "the connection to {} broke"


class StorageAnswerError(StorageError):
    """The storage answered something that cannot be understood."""

    def __init__(self, *, action: str, problem: str) -> None:
        self.action = action
        super().__init__(f"{action}: {problem}")


class NoFreeKeyError(StorageError):
    """Every key that this content may be kept under holds other content."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"store {key!r}: the name and its alternatives hold other content already")


class BadKeyError(StorageError):
    """A path that cannot be the path of a stored object."""

    def __init__(self, path: str, problem: str) -> None:
        self.path = path
        super().__init__(f"{path!r} cannot be stored: {problem}")


class LocalStorageError(StorageError):
    """The local folder or its table cannot be used."""

    def __init__(self, *, action: str, problem: str, root: Path) -> None:
        self.action = action
        self.root = root
        super().__init__(f"{action}: {problem} (the storage is the folder {root})")


ProviderName = str
"""One of `tools.providers.spec.PROVIDERS`."""

UploadStatus = Literal["pending", "completed", "failed", "deleted"]

TABLE = "provider_file_uploads"
"""The table of uploads; `UploadRow` has its columns."""

ROW_KEY = ("provider", "provider_file_id")
"""The columns that are unique together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadRow:
    """One row of the table `provider_file_uploads`.

    Attributes:
        provider: who keeps the file.
        provider_file_id: the provider's id of it, unique for the provider.
        supabase_file_id: the storage's id of our copy.
        sha256: hash of the content, in hexadecimal.
        filename: the file's name without its folder.
        file_size_bytes: its size in bytes.
        upload_status: only `completed` uploads are used again.
        upload_method: the path that the upload took.
        error_message: why it failed, if it did.
        last_used: when it was last used, as ISO 8601.
        id: the row's own id, given by the table.
        created_at: when the row was written, as ISO 8601, given by the table.
        updated_at: when it was last changed, as ISO 8601, given by the table.
    """

    provider: ProviderName
    provider_file_id: str
    supabase_file_id: str | None
    sha256: str
    filename: str
    file_size_bytes: int
    upload_status: UploadStatus
    upload_method: str
    error_message: str | None = None
    last_used: str | None = None
    id: str | None = None
    created_at: str | None = None
    updated_at: str | None = None


class UploadStorage(Protocol):
    """A place for copies of files and for the rows that track their uploads.

    Every operation exists twice, blocking and asynchronous, and does the same in both forms. Storing is idempotent:
    the same path with the same content is the same object with the same id; the same path with other content
    becomes an object of its own, so nothing is overwritten and nothing is lost.

    Every method raises `tools.storage.port.StorageError` when the storage cannot do what was asked.
    """

    def upload_file(
        self, file_path: str, file_data: bytes, original_name: str, mime_type: str | None, file_type: str
    ) -> str:
        """Keep `file_data` as the object `file_path` (folder/name) and return the object's id."""
        ...

    async def upload_file_streaming(
        self, file_path: str, source: FileSource, original_name: str, mime_type: str | None, file_type: str
    ) -> str:
        """As `upload_file`, reading the content piece by piece from `source`."""
        ...

    def record_upload(self, row: UploadRow) -> None:
        """Write a row; one with the same provider and provider file id is replaced."""
        ...

    async def record_upload_async(self, row: UploadRow) -> None:
        """As `record_upload`."""
        ...

    def find_upload(self, *, sha256: str, provider: ProviderName) -> UploadRow | None:
        """The latest completed upload of this content to this provider."""
        ...

    async def find_upload_async(self, *, sha256: str, provider: ProviderName) -> UploadRow | None:
        """As `find_upload`."""
        ...
