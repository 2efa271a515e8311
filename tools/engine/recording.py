"""Writes the row of an upload into whatever storage there is."""

from __future__ import annotations

import logging
from typing import Any

from tools.engine.providers import Provider
from tools.engine.reading import FileSource
from tools.engine.threads import run_in_thread

logger = logging.getLogger(__name__)


async def record(
    storage: Any, provider: Provider, source: FileSource, *, supabase_file_id: str, provider_file_id: str
) -> bool:
    """Write the row; whether it is written. The upload stands even if it is not."""
    row = provider.gateway.row(
        source, provider_file_id=provider_file_id, supabase_file_id=supabase_file_id, sha256=source.sha256
    )
    try:
        if hasattr(storage, "record_upload_async"):
            await storage.record_upload_async(row)
        else:
            await run_in_thread(storage.record_upload, row)
    except Exception:
        logger.exception(provider.gateway.unrecorded(provider_file_id))
        return False
    return True
