"""Files at Kimi (Moonshot): the monolith's public upload function and tool."""

from __future__ import annotations

import hashlib
import logging
import mimetypes
import os
from typing import Any

from tools.files import read_regular, validate_upload
from tools.providers.kimi.kimi_client import send_file
from tools.providers.spec import KIMI
from tools.providers.upload_tool import UploadTool
from tools.settings import get_settings
from tools.storage.port import UploadRow, UploadStorage

DEFAULT_PURPOSE = "file-extract"

logger = logging.getLogger(__name__)


def upload_via_supabase_gateway_kimi(
    file_path: str | os.PathLike[str], storage: UploadStorage, purpose: str = DEFAULT_PURPOSE
) -> dict[str, Any]:
    """Keep a copy of the file in `storage`, upload it to Kimi, and track it.

    A row that cannot be written is logged; the upload stands.

    Returns:
        `kimi_file_id`, `supabase_file_id`, `filename`, `size_bytes`, `upload_method`.

    Raises:
        ValueError: the file is missing, a directory, no regular file, or over the limit; nothing was sent.
        OSError: the file cannot be read; nothing was sent.
        RuntimeError: "Failed to upload to Supabase: ..." or "Failed to upload to Kimi via SDK: ...".
    """
    limit = get_settings().kimi_max_bytes
    file = validate_upload(file_path, limit=limit)
    file_data = read_regular(file.path, limit=limit)
    try:
        supabase_file_id = storage.upload_file(
            file_path=f"kimi-gateway/{file.name}",
            file_data=file_data,
            original_name=file.name,
            mime_type=mimetypes.guess_type(file.name)[0],
            file_type="user_upload",
        )
    except Exception as error:
        raise RuntimeError(f"Failed to upload to Supabase: {error}") from error
    try:
        kimi_file_id = send_file(file.path, purpose)
    except Exception as error:
        raise RuntimeError(f"Failed to upload to Kimi via SDK: {error}") from error
    row = UploadRow(
        provider="kimi",
        provider_file_id=kimi_file_id,
        supabase_file_id=supabase_file_id,
        sha256=hashlib.sha256(file_data).hexdigest(),
        filename=file.name,
        file_size_bytes=len(file_data),
        upload_status="completed",
        upload_method="supabase_gateway",
    )
    try:
        storage.record_upload(row)
    except Exception:
        logger.exception("Kimi took the file as %s, but its row could not be written", kimi_file_id)
    return {
        "kimi_file_id": kimi_file_id,
        "supabase_file_id": supabase_file_id,
        "filename": file.name,
        "size_bytes": len(file_data),
        "upload_method": "supabase_gateway",
    }


class KimiUploadFilesTool(UploadTool):
    """Uploads files to Kimi, except those that it has already."""

    name = "kimi_upload_files"
    gateway = KIMI
    default_purpose = DEFAULT_PURPOSE

    def _upload(self, file_path: str | os.PathLike[str], storage: UploadStorage, purpose: str) -> str:
        return str(upload_via_supabase_gateway_kimi(file_path, storage, purpose)["kimi_file_id"])
