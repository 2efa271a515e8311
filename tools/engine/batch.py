"""The upload tools' work, side by side: several files, those excepted whose content the provider has already.

Seen by the caller it is as if one file came after the other:

- The results are in the order of the files.
- The error of the first file (in that order) that fails is raised. Files that had not begun by then are left alone;
  those that had are brought to their end, so a few more than in a strict sequence may have been uploaded.
- Files behind one that cannot be uploaded at all (missing, unreadable, too large) are never begun.
- Of several files with the same content the first is uploaded and the others find it.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from shim.http.egress import is_confined
from tools.engine.gateway import checked_source, upload_through_gateway
from tools.providers.spec import Provider
from tools.settings import get_settings
from tools.storage.port import StorageError, UploadRow, UploadStorage
from tools.transport.errors import ConnectionLostError, ConnectionNotMadeError
from tools.transport.loops import SYSTEM_CLOCK, Clock, run_in_thread

logger = logging.getLogger(__name__)


async def upload_files(
    provider: Provider,
    file_paths: Sequence[str | os.PathLike[str]],
    storage: UploadStorage,
    purpose: str,
    *,
    clock: Clock = SYSTEM_CLOCK,
) -> list[dict[str, Any]]:
    """Upload files unless the provider has their content.

    Returns:
        One entry a file: `filename`, `file_id`, `size_bytes`, `upload_timestamp` (ISO 8601, UTC), `deduplicated`.

    Raises:
        ValueError, OSError, RuntimeError: as `upload_through_gateway` does, for the first file that fails.
    """
    items, refusal = await _examine(file_paths, limit=provider.limit(get_settings()))
    # how many had begun when one fails is chance; a replay, which is compared, has a strict sequence
    window = 1 if is_confined() else get_settings().upload_concurrency
    batch = _Batch(provider=provider, storage=storage, purpose=purpose, clock=clock, window=window)
    await batch.upload(items)
    failures = [item.error for item in items if item.error is not None]
    if failures:
        uploaded = any(item.entry is not None and not item.entry["deduplicated"] for item in items)
        raise _first(failures, uploaded=uploaded)
    if refusal is not None:
        raise refusal
    return [item.entry for item in items if item.entry is not None]


@dataclass(slots=True, kw_only=True)
class _Item:
    """One file of a batch, and what became of it.

    Attributes:
        finished: set when it has an entry or an error, or is left alone.
    """

    path: str | os.PathLike[str]
    name: str
    size: int
    sha256: str
    entry: dict[str, Any] | None = None
    error: Exception | None = None
    finished: asyncio.Event = field(default_factory=asyncio.Event)


async def _examine(file_paths: Sequence[str | os.PathLike[str]], *, limit: int) -> tuple[list[_Item], Exception | None]:
    """Hash the files up to the first that cannot be uploaded, and say why that one cannot."""
    items: list[_Item] = []
    for file_path in file_paths:
        try:
            source = await run_in_thread(checked_source, file_path, limit=limit)
        except (ValueError, OSError, RuntimeError) as refusal:
            return items, refusal
        items.append(_Item(path=file_path, name=source.name, size=source.size, sha256=source.sha256))
    return items, None


@dataclass(slots=True, kw_only=True)
class _Batch:
    """How the files of one call are uploaded: at most `window` at once, none any more after a failure."""

    provider: Provider
    storage: UploadStorage
    purpose: str
    clock: Clock
    window: int
    failed: bool = False

    async def upload(self, items: Sequence[_Item]) -> None:
        """Give each item its entry or its error; those behind a failure may get neither."""
        first_of: dict[str, _Item] = {}
        throttle = asyncio.Semaphore(self.window)
        async with asyncio.TaskGroup() as group:
            for item in items:
                twin = first_of.setdefault(item.sha256, item)
                group.create_task(self._process(item, throttle, after=None if twin is item else twin.finished))

    async def _process(self, item: _Item, throttle: asyncio.Semaphore, *, after: asyncio.Event | None) -> None:
        if after is not None:
            await after.wait()
        async with throttle:
            if not self.failed:
                try:
                    item.entry = await self._entry(item)
                except Exception as error:  # noqa: BLE001  # raised by the caller once all are at rest
                    item.error = error
                    self.failed = True
        item.finished.set()

    async def _entry(self, item: _Item) -> dict[str, Any]:
        known = await self._known_upload(item.sha256)
        if known is None:
            result = await upload_through_gateway(
                self.provider, item.path, self.storage, self.purpose, clock=self.clock
            )
            file_id = result[self.provider.id_key]
        else:
            file_id = known.provider_file_id
        return {
            "filename": item.name,
            "file_id": file_id,
            "size_bytes": item.size,
            "upload_timestamp": datetime.now(UTC).isoformat(),
            "deduplicated": known is not None,
        }

    async def _known_upload(self, sha256: str) -> UploadRow | None:
        try:
            if hasattr(self.storage, "find_upload_async"):
                return await self.storage.find_upload_async(sha256=sha256, provider=self.provider.name)
            return await run_in_thread(self.storage.find_upload, sha256=sha256, provider=self.provider.name)
        except StorageError:
            logger.exception("cannot tell whether %s has the file already, so it is uploaded", self.provider.label)
            return None


def _first(failures: Sequence[Exception], *, uploaded: bool) -> Exception:
    """The failure to raise. It proves that nothing was sent only if that is true of the whole batch."""
    first = failures[0]
    proofs = [isinstance(failure.__cause__, ConnectionNotMadeError) for failure in failures]
    if not proofs[0] or (all(proofs) and not uploaded):
        return first
    bare = type(first)(str(first))
    bare.__cause__ = ConnectionLostError("no connection for one file, while others were sent")
    return bare
