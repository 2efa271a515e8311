"""The upload through the Supabase gateway, as the monolith has always done it: blocking, one step after the other.

The order is fixed: copy in the storage, upload to the provider, row in the tracking table.
"""

from __future__ import annotations

import hashlib
import logging
import mimetypes
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tools.providers.validation import ValidatedFile, validate_upload
from tools.settings import Settings, get_settings
from tools.storage.port import ProviderName, UploadRow, UploadStorage

UPLOAD_METHOD = "supabase_gateway"
FILE_TYPE = "user_upload"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """What differs between the providers.

    Attributes:
        provider: name in the tracking table, in storage paths and in the result's keys.
        label: name in error texts.
        limit: the largest file, in bytes.
        send: uploads a file with a purpose and returns the provider's id of it; raises what the vendor's SDK raises.
    """

    provider: ProviderName
    label: str
    limit: Callable[[Settings], int]
    send: Callable[[Path, str], str]

    def storage_path(self, name: str) -> str:
        """Where the storage keeps a file of this name."""
        return f"{self.provider}-gateway/{name}"

    def result(self, file: ValidatedFile, *, provider_file_id: str, supabase_file_id: str) -> dict[str, Any]:
        """What the public upload function returns."""
        return {
            f"{self.provider}_file_id": provider_file_id,
            "supabase_file_id": supabase_file_id,
            "filename": file.name,
            "size_bytes": file.size,
            "upload_method": UPLOAD_METHOD,
        }

    def row(self, file: ValidatedFile, *, provider_file_id: str, supabase_file_id: str, sha256: str) -> UploadRow:
        """What the tracking table remembers of a completed upload."""
        return UploadRow(
            provider=self.provider,
            provider_file_id=provider_file_id,
            supabase_file_id=supabase_file_id,
            sha256=sha256,
            filename=file.name,
            file_size_bytes=file.size,
            upload_status="completed",
            upload_method=UPLOAD_METHOD,
        )


def storage_failure(error: Exception) -> RuntimeError:
    """The error that callers get when the copy could not be stored."""
    return RuntimeError(f"Failed to upload to Supabase: {error}")


def provider_failure(label: str, error: Exception) -> RuntimeError:
    """The error that callers get when the provider did not take the file."""
    return RuntimeError(f"Failed to upload to {label} via SDK: {error}")


def guessed_mime_type(name: str) -> str | None:
    """The type that a file's name suggests."""
    return mimetypes.guess_type(name)[0]


def upload_through(
    gateway: Gateway, file_path: str | os.PathLike[str], storage: UploadStorage, purpose: str
) -> dict[str, Any]:
    """Upload one file through `gateway`; see the public functions of the providers.

    Raises:
        ValueError: the file is missing, no regular file, or over the limit; nothing was sent.
        OSError: the file cannot be read; nothing was sent.
        RuntimeError: the storage or the provider failed; the text says which, the cause says why.
    """
    file = validate_upload(file_path, limit=gateway.limit(get_settings()))
    with file.path.open("rb") as handle:
        file_data = handle.read()
    file = replace(file, size=len(file_data))

    try:
        supabase_file_id = storage.upload_file(
            file_path=gateway.storage_path(file.name),
            file_data=file_data,
            original_name=file.name,
            mime_type=guessed_mime_type(file.name),
            file_type=FILE_TYPE,
        )
    except Exception as error:
        raise storage_failure(error) from error

    try:
        provider_file_id = gateway.send(file.path, purpose)
    except Exception as error:
        raise provider_failure(gateway.label, error) from error

    ids = {"provider_file_id": provider_file_id, "supabase_file_id": supabase_file_id}
    try:
        storage.record_upload(gateway.row(file, **ids, sha256=hashlib.sha256(file_data).hexdigest()))
    except Exception:
        logger.exception("%s took the file as %s, but its row could not be written", gateway.label, provider_file_id)
    return gateway.result(file, **ids)
