"""What the upload through the storage gateway is, whoever carries it out: names, limits, results, rows, texts."""

from __future__ import annotations

import mimetypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from tools.settings import Settings
from tools.storage.port import ProviderName, UploadRow

UPLOAD_METHOD = "supabase_gateway"
FILE_TYPE = "user_upload"


class NamedFile(Protocol):
    """A file, as far as results and rows speak of it."""

    @property
    def name(self) -> str:
        """Its name without the folder."""
        ...

    @property
    def size(self) -> int:
        """Its length in bytes."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """What differs between the providers.

    Attributes:
        name: of the provider, in the tracking table, in storage paths and in the result's keys.
        label: of the provider, in messages.
        limit: the largest file, in bytes.
    """

    name: ProviderName
    label: str
    limit: Callable[[Settings], int]

    @property
    def id_key(self) -> str:
        """Key of the provider's file id in results."""
        return f"{self.name}_file_id"

    def storage_path(self, file: NamedFile) -> str:
        """Where the storage keeps the file."""
        return f"{self.name}-gateway/{file.name}"

    def result(self, file: NamedFile, *, provider_file_id: str, supabase_file_id: str) -> dict[str, Any]:
        """What the public upload function returns."""
        return {
            self.id_key: provider_file_id,
            "supabase_file_id": supabase_file_id,
            "filename": file.name,
            "size_bytes": file.size,
            "upload_method": UPLOAD_METHOD,
        }

    def row(self, file: NamedFile, *, provider_file_id: str, supabase_file_id: str, sha256: str) -> UploadRow:
        """What the tracking table remembers of a completed upload."""
        return UploadRow(
            provider=self.name,
            provider_file_id=provider_file_id,
            supabase_file_id=supabase_file_id,
            sha256=sha256,
            filename=file.name,
            file_size_bytes=file.size,
            upload_status="completed",
            upload_method=UPLOAD_METHOD,
        )

    def failure(self, error: Exception | str) -> RuntimeError:
        """The error that callers get when the provider did not take the file."""
        return RuntimeError(f"Failed to upload to {self.label} via SDK: {error}")

    def unrecorded(self, provider_file_id: str) -> str:
        """What the log says when the row could not be written; the upload stands."""
        return f"{self.label} took the file as {provider_file_id}, but its row could not be written"


KIMI = Gateway(name="kimi", label="Kimi", limit=lambda settings: settings.kimi_max_bytes)
GLM = Gateway(name="glm", label="GLM", limit=lambda settings: settings.glm_max_bytes)


def storage_failure(error: Exception) -> RuntimeError:
    """The error that callers get when the copy could not be stored."""
    return RuntimeError(f"Failed to upload to Supabase: {error}")


def guessed_mime_type(name: str) -> str | None:
    """The type that a file's name suggests."""
    return mimetypes.guess_type(name)[0]
