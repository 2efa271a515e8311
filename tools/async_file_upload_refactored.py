"""The asynchronous upload: files are streamed, connections are pooled, uploads run side by side.

To the caller the gateway functions and the tools' twins are what the synchronous ones are: the same results, the same
exceptions with the same texts. They differ where the synchronous way does harm: an upload whose answer was lost is
looked for at the provider instead of being sent twice, and redirects are not followed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tools.engine.batch import upload_files
from tools.engine.gateway import BlockingStorage, StreamingStorage, upload_through_gateway
from tools.engine.generic import (
    UploadOutcome,
    read_file_async,
    stream_file_chunks,
    upload_file_streaming_async,
    upload_multiple_files_concurrent,
)
from tools.engine.throttle import get_upload_semaphore
from tools.providers.spec import GLM, KIMI
from tools.transport.connections import cleanup_http_session, get_http_session
from tools.transport.loops import run_in_thread

if TYPE_CHECKING:
    from tools.providers.upload_tool import UploadTool
    from tools.storage.port import UploadStorage

__all__ = [
    "UploadOutcome",
    "cleanup_http_session",
    "get_http_session",
    "get_upload_semaphore",
    "read_file_async",
    "stream_file_chunks",
    "upload_file_glm_async",
    "upload_file_kimi_async",
    "upload_file_streaming_async",
    "upload_files_glm_async",
    "upload_files_kimi_async",
    "upload_multiple_files_concurrent",
    "upload_via_supabase_gateway_glm_async",
    "upload_via_supabase_gateway_kimi_async",
]


async def upload_via_supabase_gateway_kimi_async(
    file_path: str | os.PathLike[str],
    storage: BlockingStorage | StreamingStorage,
    purpose: str = "file-extract",
) -> dict[str, Any]:
    """Keep a copy of the file in `storage`, upload it to Kimi, and track it.

    A row that cannot be written is logged; the upload stands.

    Returns:
        `kimi_file_id`, `supabase_file_id`, `filename`, `size_bytes`, `upload_method`.

    Raises:
        ValueError: the file is missing, a directory, no regular file, or over the limit; nothing was sent.
        OSError: the file cannot be read; nothing was sent.
        RuntimeError: "Failed to upload to Supabase: ..." or "Failed to upload to Kimi via SDK: ...". Its cause is a
            `ConnectionNotMadeError` only if it is certain that nothing was sent anywhere.
    """
    return await upload_through_gateway(KIMI, file_path, storage, purpose)


async def upload_via_supabase_gateway_glm_async(
    file_path: str | os.PathLike[str],
    storage: BlockingStorage | StreamingStorage,
    purpose: str = "agent",
) -> dict[str, Any]:
    """As `upload_via_supabase_gateway_kimi_async`, for GLM: `glm_file_id`, "Failed to upload to GLM via SDK: ..."."""
    return await upload_through_gateway(GLM, file_path, storage, purpose)


async def upload_files_kimi_async(
    tool: UploadTool, files: Sequence[str | os.PathLike[str]], purpose: str | None = None
) -> list[dict[str, Any]]:
    """What `KimiUploadFilesTool._run` does, with the files side by side; see `tools.engine.batch`.

    Returns:
        One entry a file: `filename`, `file_id`, `size_bytes`, `upload_timestamp` (ISO 8601, UTC), `deduplicated`.

    Raises:
        ValueError, OSError, RuntimeError: as `upload_via_supabase_gateway_kimi_async`, for the first file that fails.
    """
    return await upload_files(KIMI, files, await _storage_of(tool), purpose or tool.default_purpose)


async def upload_files_glm_async(
    tool: UploadTool, files: Sequence[str | os.PathLike[str]], purpose: str | None = None
) -> list[dict[str, Any]]:
    """As `upload_files_kimi_async`, for GLM."""
    return await upload_files(GLM, files, await _storage_of(tool), purpose or tool.default_purpose)


async def upload_file_kimi_async(
    tool: UploadTool, file: str | os.PathLike[str], purpose: str | None = None
) -> dict[str, Any]:
    """What `KimiUploadFilesTool.run` does: one file; `file_id`, `filename` and `deduplicated` of its entry."""
    return _short(await upload_files_kimi_async(tool, [file], purpose))


async def upload_file_glm_async(
    tool: UploadTool, file: str | os.PathLike[str], purpose: str | None = None
) -> dict[str, Any]:
    """As `upload_file_kimi_async`, for GLM."""
    return _short(await upload_files_glm_async(tool, [file], purpose))


def _short(entries: list[dict[str, Any]]) -> dict[str, Any]:
    [entry] = entries
    return {key: entry[key] for key in ("file_id", "filename", "deduplicated")}


async def _storage_of(tool: UploadTool) -> UploadStorage:
    """The tool's storage, else the configured one, whose client takes a while to import."""
    return await run_in_thread(lambda: tool.storage)
