"""Uploads a file again, through the implementation that was to upload it."""

from __future__ import annotations

import asyncio
import hashlib
from io import FileIO
from pathlib import Path
from typing import Any

from tools.journal.intent import Intent, UploadSide
from tools.providers.opening import only_this_file, open_regular
from tools.recovery.errors import ContentChangedError
from tools.storage import UploadStorage


async def repeat(intent: Intent, storage: UploadStorage) -> dict[str, Any]:
    """Upload it, if it still is what was to be uploaded; the result is that of the public function.

    The implementations are imported when they are needed: one that cannot be imported fails these uploads alone.

    Raises:
        ContentChangedError: the file has another content by now; nothing was sent.
        ValueError, OSError, RuntimeError: as the public function does.
    """
    path = Path(intent.path)
    with FileIO(await asyncio.to_thread(open_regular, intent.path)) as file, only_this_file(path, file):
        if await asyncio.to_thread(_hash_of, file) != intent.sha256:
            raise ContentChangedError(path)
        if intent.side is UploadSide.LEGACY:
            return await asyncio.to_thread(_by_legacy, intent, storage)
        return await _by_async(intent, storage)


def _hash_of(file: FileIO) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()


def _by_legacy(intent: Intent, storage: UploadStorage) -> dict[str, Any]:
    from tools.providers.blocking import upload_through  # noqa: PLC0415  # see `repeat`
    from tools.providers.gateway import GLM, KIMI  # noqa: PLC0415  # likewise
    from tools.providers.glm.glm_client import send_file as send_to_glm  # noqa: PLC0415  # likewise
    from tools.providers.kimi.kimi_client import send_file as send_to_kimi  # noqa: PLC0415  # likewise

    gateway, send = (KIMI, send_to_kimi) if intent.provider == "kimi" else (GLM, send_to_glm)
    return upload_through(gateway, send, intent.path, storage, intent.purpose)


async def _by_async(intent: Intent, storage: UploadStorage) -> dict[str, Any]:
    from tools.engine.gateway import upload_through_gateway  # noqa: PLC0415  # see `repeat`
    from tools.engine.providers import GLM, KIMI  # noqa: PLC0415  # likewise

    provider = KIMI if intent.provider == "kimi" else GLM
    return await upload_through_gateway(provider, intent.path, storage, intent.purpose)
