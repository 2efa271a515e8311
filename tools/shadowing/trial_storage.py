"""The storage that a trial gets to see: the real one, in which it can store marked things only.

Rows are written with the status `pending`, so that no caller's look-up for known contents ever finds a shadow's file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from shim.http.egress import Gate
from tools.storage.port import ProviderName, StorageError, UploadRow, UploadStatus

if TYPE_CHECKING:  # a broken engine must not keep legacy from being installed
    from tools.transport.reading import FileSource

SHADOW_STATUS: UploadStatus = "pending"
"""The status of a shadow's row: look-ups for known contents see `completed` ones only."""


class NotTheTrialsError(StorageError):
    """The other side wants to store something that is not marked as its own, or stores when its time is over."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"refused, because {problem}")


class TrialStorage:
    """Implements `UploadStorage` for one trial.

    Args:
        storage: the real one.
        beginning: what paths of objects must begin with: folder and mark.
        gate: shut when the trial is over.
        known: the hashes that the primary uploaded; it was told that they were not known before.
        made: the provider's ids of the files that the trial has made so far.
    """

    def __init__(
        self,
        storage: Any,
        *,
        beginning: str,
        gate: Gate,
        known: Collection[str],
        made: Callable[[], Collection[str]],
    ) -> None:
        self._storage = storage
        self._beginning = beginning
        self._gate = gate
        self._known = frozenset(known)
        self._made = made
        self.asked: dict[str, UploadRow] = {}

    def upload_file(
        self, file_path: str, file_data: bytes, original_name: str, mime_type: str | None, file_type: str
    ) -> str:
        """Store a marked object."""
        self._check_path(file_path)
        return str(self._storage.upload_file(file_path, file_data, original_name, mime_type, file_type))

    async def upload_file_streaming(
        self, file_path: str, source: FileSource, original_name: str, mime_type: str | None, file_type: str
    ) -> str:
        """Store a marked object."""
        self._check_path(file_path)
        stored = await self._storage.upload_file_streaming(file_path, source, original_name, mime_type, file_type)
        return str(stored)

    def record_upload(self, row: UploadRow) -> None:
        """Write the row of a file that the trial made."""
        self._storage.record_upload(self._marked(row))

    async def record_upload_async(self, row: UploadRow) -> None:
        """Write the row of a file that the trial made."""
        await self._storage.record_upload_async(await asyncio.to_thread(self._marked, row))

    def find_upload(self, *, sha256: str, provider: ProviderName) -> UploadRow | None:
        """What the primary was told, or what the trial has recorded itself since."""
        own = self._own(sha256, provider)
        if own is not None or sha256 in self._known:
            return own
        found: UploadRow | None = self._storage.find_upload(sha256=sha256, provider=provider)
        return found

    async def find_upload_async(self, *, sha256: str, provider: ProviderName) -> UploadRow | None:
        """As `find_upload`."""
        own = self._own(sha256, provider)
        if own is not None or sha256 in self._known:
            return own
        found: UploadRow | None = await self._storage.find_upload_async(sha256=sha256, provider=provider)
        return found

    def _own(self, sha256: str, provider: ProviderName) -> UploadRow | None:
        rows = (row for row in self.asked.values() if (row.sha256, row.provider) == (sha256, provider))
        return next((row for row in rows if row.upload_status == "completed"), None)

    def _check_path(self, path: str) -> None:
        self._check_gate()
        if not path.startswith(self._beginning) or "/" in path.removeprefix(self._beginning):
            raise NotTheTrialsError("the path of the object is not marked as the trial's")

    def _check_gate(self) -> None:
        if self._gate.is_shut:
            raise NotTheTrialsError("the trial is over")

    def _marked(self, row: UploadRow) -> UploadRow:
        self._check_gate()
        if row.provider_file_id not in self._made():
            raise NotTheTrialsError("the row is about a file that the trial has not made")
        self.asked[row.provider_file_id] = row
        return replace(row, upload_status=SHADOW_STATUS)
