"""Files at GLM (Z.ai): the monolith's public upload function and tool."""

from __future__ import annotations

import os
from typing import Any

from tools.providers.blocking import upload_through
from tools.providers.glm.glm_client import send_file
from tools.providers.spec import GLM
from tools.providers.upload_tool import UploadTool
from tools.storage.port import UploadStorage

DEFAULT_PURPOSE = "agent"


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
    return upload_through(GLM, send_file, file_path, storage, purpose)


class GLMUploadFileTool(UploadTool):
    """Uploads files to GLM, except those that it has already."""

    name = "glm_upload_file"
    gateway = GLM
    default_purpose = DEFAULT_PURPOSE

    def _upload(self, file_path: str | os.PathLike[str], storage: UploadStorage, purpose: str) -> str:
        return str(upload_via_supabase_gateway_glm(file_path, storage, purpose)["glm_file_id"])
