"""Files at GLM (Z.ai): the monolith's public upload function and tool."""

from __future__ import annotations

import hashlib
import logging
import mimetypes
import os
from typing import Any

from tools.files import read_regular, validate_upload
from tools.providers.glm.glm_client import send_file
from tools.providers.spec import GLM
from tools.providers.upload_tool import UploadTool
from tools.settings import get_settings
from tools.storage.port import UploadRow, UploadStorage

DEFAULT_PURPOSE = "agent"

logger = logging.getLogger(__name__)


def upload_via_supabase_gateway_glm(
    file_path: str | os.PathLike[str], storage: UploadStorage, purpose: str = DEFAULT_PURPOSE
) -> dict[str, Any]:
    """Keep a copy of the file in `storage`, upload it to GLM, and track it.

    A row that cannot be written is logged; the upload stands.

    Returns:
        `glm_file_id`, `supabase_file_id`, `filename`, `size_bytes`, `upload_method`.

    Raises:
        ValueError: the file is missing, a directory, no regular file, or over the limit; nothing was sent.
        OSError: the file cannot be read; nothing was sent.
        RuntimeError: "Failed to upload to Supabase: ..." or "Failed to upload to GLM via SDK: ...".
    """
    limit = get_settings().glm_max_bytes
    file = validate_upload(file_path, limit=limit)
    file_data = read_regular(file.path, limit=limit)
    try:
        supabase_file_id = storage.upload_file(
            file_path=f"glm-gateway/{file.name}",
            file_data=file_data,
            original_name=file.name,
            mime_type=mimetypes.guess_type(file.name)[0],
            file_type="user_upload",
        )
    except Exception as error:
        raise RuntimeError(f"Failed to upload to Supabase: {error}") from error
    try:
        glm_file_id = send_file(file.path, purpose)
    except Exception as error:
        raise RuntimeError(f"Failed to upload to GLM via SDK: {error}") from error
    row = UploadRow(
        provider="glm",
        provider_file_id=glm_file_id,
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
        logger.exception("GLM took the file as %s, but its row could not be written", glm_file_id)
    return {
        "glm_file_id": glm_file_id,
        "supabase_file_id": supabase_file_id,
        "filename": file.name,
        "size_bytes": len(file_data),
        "upload_method": "supabase_gateway",
    }


class GLMUploadFileTool(UploadTool):
    """Uploads files to GLM, except those that it has already."""

    name = "glm_upload_file"
    gateway = GLM
    default_purpose = DEFAULT_PURPOSE

    def _upload(self, file_path: str | os.PathLike[str], storage: UploadStorage, purpose: str) -> str:
        return str(upload_via_supabase_gateway_glm(file_path, storage, purpose)["glm_file_id"])
