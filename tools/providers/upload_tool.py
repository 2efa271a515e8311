"""What the upload tools of the providers have in common: several files, one after the other, each content once."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

from tools.files import read_regular, validate_upload
from tools.providers.spec import Provider
from tools.settings import get_settings
from tools.storage import get_storage
from tools.storage.port import StorageError, UploadRow, UploadStorage

logger = logging.getLogger(__name__)


class UploadTool(ABC):
    """Uploads files to one provider, except those whose content the provider has already."""

    name: ClassVar[str]
    gateway: ClassVar[Provider]
    default_purpose: ClassVar[str]

    def __init__(self, storage: UploadStorage | None = None) -> None:
        self._storage = storage

    @property
    def storage(self) -> UploadStorage:
        """The storage that was given, else the configured one."""
        return self._storage if self._storage is not None else get_storage()

    @storage.setter
    def storage(self, storage: UploadStorage) -> None:
        self._storage = storage

    @abstractmethod
    def _upload(self, file_path: str | os.PathLike[str], storage: UploadStorage, purpose: str) -> str:
        """Upload one file through the provider's public function and return the provider's id of it."""

    def _run(self, files: Sequence[str | os.PathLike[str]], purpose: str | None = None) -> list[dict[str, Any]]:
        """Upload files one after the other; the first failure ends it.

        Returns:
            One entry a file: `filename`, `file_id`, `size_bytes`, `upload_timestamp` (ISO 8601, UTC), `deduplicated`.

        Raises:
            ValueError, OSError, RuntimeError: as the provider's upload function does.
        """
        storage = self.storage
        return [self._upload_once(file, storage, purpose or self.default_purpose) for file in files]

    def run(self, file: str | os.PathLike[str], purpose: str | None = None) -> dict[str, Any]:
        """Upload one file; as `_run`, with `file_id`, `filename` and `deduplicated` only."""
        [entry] = self._run(files=[file], purpose=purpose)
        return {key: entry[key] for key in ("file_id", "filename", "deduplicated")}

    async def execute(self, arguments: Mapping[str, Any]) -> str:
        """Call `_run` with `files`, or `run` with `file`, and answer with JSON text.

        An asynchronous twin (`_run_async`, `run_async`) is preferred where there is one; otherwise a thread does it.

        Raises:
            ValueError: neither `files` nor `file` is given.
            ValueError, OSError, RuntimeError: as the provider's upload function does.
        """
        which, method = ("files", "_run") if "files" in arguments else ("file", "run")
        if which not in arguments:
            raise ValueError(f"{self.name} needs 'files' (a list of paths) or 'file' (one path)")
        given = {which: arguments[which], "purpose": arguments.get("purpose") or self.default_purpose}
        twin = getattr(self, f"{method}_async", None)
        if twin is not None:
            result = await twin(**given)
        else:
            result = await asyncio.to_thread(getattr(self, method), **given)
        return json.dumps(result, ensure_ascii=False)

    def _upload_once(self, file_path: str | os.PathLike[str], storage: UploadStorage, purpose: str) -> dict[str, Any]:
        file = validate_upload(file_path, limit=self.gateway.limit(get_settings()))
        known = self._known_upload(read_regular(file.path), storage)
        file_id = known.provider_file_id if known else self._upload(file_path, storage, purpose)
        return {
            "filename": file.name,
            "file_id": file_id,
            "size_bytes": file.size,
            "upload_timestamp": datetime.now(UTC).isoformat(),
            "deduplicated": known is not None,
        }

    def _known_upload(self, data: bytes, storage: UploadStorage) -> UploadRow | None:
        try:
            return storage.find_upload(sha256=hashlib.sha256(data).hexdigest(), provider=self.gateway.name)
        except StorageError:
            logger.exception("cannot tell whether %s has the file already, so it is uploaded", self.gateway.label)
            return None
