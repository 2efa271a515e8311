"""The upload through the storage gateway, as the monolith has always done it: blocking, one step after the other.

The order is fixed: copy in the storage, upload to the provider, row in the tracking table.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tools.providers.gateway import FILE_TYPE, Gateway, guessed_mime_type, storage_failure
from tools.providers.validation import validate_upload
from tools.settings import get_settings
from tools.storage.port import UploadStorage

logger = logging.getLogger(__name__)


def upload_through(
    gateway: Gateway,
    send: Callable[[Path, str], str],
    file_path: str | os.PathLike[str],
    storage: UploadStorage,
    purpose: str,
) -> dict[str, Any]:
    """Upload one file; see the public functions of the providers.

    `send` uploads a file with a purpose and returns the provider's id of it; it raises what the vendor's SDK raises.

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
            file_path=gateway.storage_path(file),
            file_data=file_data,
            original_name=file.name,
            mime_type=guessed_mime_type(file.name),
            file_type=FILE_TYPE,
        )
    except Exception as error:
        raise storage_failure(error) from error

    try:
        provider_file_id = send(file.path, purpose)
    except Exception as error:
        raise gateway.failure(error) from error

    ids = {"provider_file_id": provider_file_id, "supabase_file_id": supabase_file_id}
    try:
        storage.record_upload(gateway.row(file, **ids, sha256=hashlib.sha256(file_data).hexdigest()))
    except Exception:
        logger.exception(gateway.unrecorded(provider_file_id))
    return gateway.result(file, **ids)
