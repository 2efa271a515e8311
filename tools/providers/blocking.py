"""The upload through the storage gateway, as the monolith has always done it: blocking, one step after the other.

The order is fixed: copy in the storage, upload to the provider, row in the tracking table.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from shim.http.attempts import Attempts, counting
from shim.http.httpx_tap import install_httpx_tap
from tools.files import ValidatedFile, read_regular, validate_upload
from tools.journal.beginning import Work, carry_out, undertaking
from tools.journal.policy import Record, Send, Settle, Store, Undertaking, upload
from tools.journal.port import ClaimTimeoutError, UploadSide
from tools.providers.answers import NoFileIdError
from tools.providers.spec import FILE_TYPE, Provider, guessed_mime_type, storage_failure
from tools.settings import get_settings
from tools.storage.port import UploadRow, UploadStorage

logger = logging.getLogger(__name__)


def upload_through(
    gateway: Provider,
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
    began = time.monotonic()
    limit = gateway.limit(get_settings())
    file = validate_upload(file_path, limit=limit)
    file_data = read_regular(file.path, limit=limit)
    file = replace(file, size=len(file_data))
    sha256 = hashlib.sha256(file_data).hexdigest()
    journaled = undertaking(gateway.name, file, sha256=sha256, purpose=purpose, side=UploadSide.LEGACY, began=began)

    def perform(work: Work) -> object:
        match work:
            case Store():
                return _store(gateway, file, file_data, storage)
            case Send():
                return _send(gateway, send, file, purpose, journaled)
            case Record(supabase_file_id=copy, provider_file_id=sent):
                row = gateway.row(file, provider_file_id=sent, supabase_file_id=copy, sha256=sha256)
                return _record(gateway, row, storage)
            case Settle():
                return False  # nobody can do so behind the caller's back: recovery does

    try:
        uploaded = carry_out(upload(journaled), perform)
    except ClaimTimeoutError as error:
        raise gateway.failure(error) from error
    return gateway.result(file, provider_file_id=uploaded.provider_file_id, supabase_file_id=uploaded.supabase_file_id)


def _store(gateway: Provider, file: ValidatedFile, file_data: bytes, storage: UploadStorage) -> str:
    try:
        return storage.upload_file(
            file_path=gateway.storage_path(file),
            file_data=file_data,
            original_name=file.name,
            mime_type=guessed_mime_type(file.name),
            file_type=FILE_TYPE,
        )
    except Exception as error:
        raise storage_failure(error) from error


def _send(
    gateway: Provider,
    send: Callable[[Path, str], str],
    file: ValidatedFile,
    purpose: str,
    journaled: Undertaking | None,
) -> str:
    """Send the file. The SDK may send it several times, so its attempts are counted for the journal."""
    attempts = Attempts()
    if journaled is not None:
        attempts = journaled.attempts
        install_httpx_tap()
    try:
        with counting(attempts):
            return send(file.path, purpose)
    except Exception as error:
        if isinstance(error, NoFileIdError) and error.is_refusal:
            attempts.settle_last()
        raise gateway.failure(error) from error


def _record(gateway: Provider, row: UploadRow, storage: UploadStorage) -> bool:
    """Write the row; whether it is written. The upload stands even if it is not."""
    try:
        storage.record_upload(row)
    except Exception:
        logger.exception(gateway.unrecorded(row.provider_file_id))
        return False
    return True
