"""A storage that keeps nothing: it notes what it is asked and answers what the primary's storage answered."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from tools.shadowing.answers import AnswerBook
from tools.shadowing.requests import Target
from tools.storage.local import LocalStorage
from tools.storage.port import ProviderName, StorageError, UploadRow, UploadStorage

if TYPE_CHECKING:  # a broken engine must not keep legacy from being installed
    from tools.transport.reading import FileSource

LOCAL = "storage"
"""The service name of the embedded storage, whose operations are noted like requests."""


@runtime_checkable
class Movable(Protocol):
    """A storage that is reached over HTTP, and can be reached elsewhere instead."""

    def moved_to(self, url: str) -> UploadStorage:
        """The same storage at another address."""
        ...


class NotRecordedError(StorageError):
    """The rehearsed side asked the storage for something that the primary never asked."""


def rehearsal_storage(
    storage: object, recorder: str, answers: AnswerBook, seen: list[dict[str, object]]
) -> UploadStorage | None:
    """A stand-in for `storage` that has no effect; None for a kind that nobody knows how to stand in for."""
    if isinstance(storage, LocalStorage):
        return RehearsalStorage(answers, seen)
    if isinstance(storage, Movable):
        return storage.moved_to(f"{recorder}/supabase")
    return None


class RehearsalStorage:
    """Stands in for the embedded storage."""

    def __init__(self, answers: AnswerBook, seen: list[dict[str, object]]) -> None:
        self._answers = answers
        self._seen = seen

    def upload_file(
        self, file_path: str, file_data: bytes, original_name: str, mime_type: str | None, file_type: str
    ) -> str:
        """Note the object by length and digest."""
        found = {"length": len(file_data), "sha256": hashlib.sha256(file_data).hexdigest()}
        return str(self._ask("upload_file", file_path, found, _labels(original_name, mime_type, file_type)))

    async def upload_file_streaming(
        self, file_path: str, source: FileSource, original_name: str, mime_type: str | None, file_type: str
    ) -> str:
        """Note the object by length and digest."""
        hasher, length = hashlib.sha256(), 0
        async for piece in source.chunks():
            hasher.update(piece)
            length += len(piece)
        found = {"length": length, "sha256": hasher.hexdigest()}
        return str(self._ask("upload_file", file_path, found, _labels(original_name, mime_type, file_type)))

    def record_upload(self, row: UploadRow) -> None:
        """Note the row."""
        self._ask("record_upload", row.provider_file_id, asdict(row), {})

    async def record_upload_async(self, row: UploadRow) -> None:
        """Note the row."""
        self.record_upload(row)

    def find_upload(self, *, sha256: str, provider: ProviderName) -> UploadRow | None:
        """Answer as the primary was answered."""
        found = self._ask("find_upload", f"{provider}/{sha256}", None, {})
        return UploadRow(**found) if isinstance(found, dict) else None

    async def find_upload_async(self, *, sha256: str, provider: ProviderName) -> UploadRow | None:
        """Answer as the primary was answered."""
        return self.find_upload(sha256=sha256, provider=provider)

    def _ask(self, operation: str, path: str, body: object, labels: Mapping[str, object]) -> object:
        self._seen.append({"service": LOCAL, "method": operation, "path": path, "body": body, **labels})
        answer = self._answers.take(Target(LOCAL, operation, path))
        if answer is None:
            raise NotRecordedError(f"{operation} {path!r} is not part of the call that is rehearsed")
        result = json.loads(answer.body)
        if answer.status != 200:  # noqa: PLR2004  # the status that a noted success has
            raise StorageError(result)
        return result


def _labels(original_name: str, mime_type: str | None, file_type: str) -> dict[str, object]:
    return {"original_name": original_name, "mime_type": mime_type, "file_type": file_type}
