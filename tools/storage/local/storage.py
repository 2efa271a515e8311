"""The embedded storage: a folder for the copies, SQLite for the rows. Safe for many threads and processes."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from shim.http.exchanges import OperationNote, noted_operation
from tools.engine.threads import run_in_thread
from tools.storage.errors import LocalStorageError
from tools.storage.local.objects import Arrival, ObjectFolder
from tools.storage.local.rows import LocalRows
from tools.storage.placement import (
    CreateBucket,
    Done,
    Look,
    Outcome,
    Put,
    Step,
    Taken,
    carry_out,
    carry_out_async,
    place,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tools.engine.reading import FileSource
    from tools.storage.port import ProviderName, UploadRow

P = ParamSpec("P")
T = TypeVar("T")


class LocalStorage:
    """Keeps copies under `root/objects` and rows in `root/uploads.db`. Implements `UploadStorage`."""

    def __init__(self, root: Path) -> None:
        self.folder = ObjectFolder(root)
        self._rows = LocalRows(root / "uploads.db")

    def upload_file(
        self,
        file_path: str,
        file_data: bytes,
        original_name: str,  # noqa: ARG002  # a folder keeps no metadata
        mime_type: str | None,  # noqa: ARG002  # as above
        file_type: str,  # noqa: ARG002  # as above
    ) -> str:
        """See `UploadStorage.upload_file`."""
        digest = hashlib.sha256(file_data).hexdigest()

        def perform(step: Step) -> Outcome:
            match step:
                case Put(path=path):
                    return self._put(path, file_data)
                case Look(path=path):
                    return self.folder.look(path)
                case CreateBucket():
                    return Done()

        with _noted("upload_file", file_path) as note, _translated(f"store {file_path!r}", self.folder.root):
            return note.answered(carry_out(place(file_path, size=len(file_data), sha256=digest), perform))

    async def upload_file_streaming(
        self,
        file_path: str,
        source: FileSource,
        original_name: str,  # noqa: ARG002  # a folder keeps no metadata
        mime_type: str | None,  # noqa: ARG002  # as above
        file_type: str,  # noqa: ARG002  # as above
    ) -> str:
        """See `UploadStorage.upload_file_streaming`. Errors of `source` pass through as they are."""
        steps = _Steps(f"store {file_path!r}", self.folder.root)

        async def perform(step: Step) -> Outcome:
            match step:
                case Put(path=path):
                    return await self._put_streaming(path, source, steps)
                case Look(path=path):
                    return await steps.do(self.folder.look, path)
                case CreateBucket():
                    return Done()

        with _noted("upload_file", file_path) as note:
            placement = place(file_path, size=source.size, sha256=source.sha256)
            return note.answered(await carry_out_async(placement, perform))

    def record_upload(self, row: UploadRow) -> None:
        """See `UploadStorage.record_upload`."""
        with _noted("record_upload", row.provider_file_id) as note, _translated("record the upload", self.folder.root):
            self.folder.prepare()
            self._rows.write(row)
            note.answered(None)

    async def record_upload_async(self, row: UploadRow) -> None:
        """See `UploadStorage.record_upload`."""
        await run_in_thread(self.record_upload, row)

    def find_upload(self, *, sha256: str, provider: ProviderName) -> UploadRow | None:
        """See `UploadStorage.find_upload`."""
        with _noted("find_upload", f"{provider}/{sha256}") as note, _translated("look up the upload", self.folder.root):
            self.folder.prepare()
            return note.answered(self._rows.find(sha256=sha256, provider=provider))

    async def find_upload_async(self, *, sha256: str, provider: ProviderName) -> UploadRow | None:
        """See `UploadStorage.find_upload`."""
        return await run_in_thread(self.find_upload, sha256=sha256, provider=provider)

    def _put(self, path: str, data: bytes) -> Outcome:
        if self.folder.path_of(path).exists():
            return Taken()
        with Arrival(self.folder) as arrival:
            arrival.write(data)
            return arrival.publish(path)

    async def _put_streaming(self, path: str, source: FileSource, steps: _Steps) -> Outcome:
        if source.held is not None:
            return await steps.do(self._put, path, source.held)
        if await steps.do(self.folder.path_of(path).exists):
            return Taken()
        arrival = Arrival(self.folder)
        try:
            async for piece in source.chunks():
                await steps.do(arrival.write, piece)
            return await steps.do(arrival.publish, path)
        finally:
            await steps.do(arrival.close)


def _noted(operation: str, path: str) -> AbstractContextManager[OperationNote]:
    """Let a rehearsal know what was answered: this storage is not reached over HTTP, where it would be seen."""
    return noted_operation("storage", operation, path)


class _Steps:
    """The steps of one job, each off the event loop, with the storage's own errors."""

    def __init__(self, action: str, root: Path) -> None:
        self._action = action
        self._root = root

    async def do(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        with _translated(self._action, self._root):
            return await run_in_thread(function, *args, **kwargs)


@contextmanager
def _translated(action: str, root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LocalStorageError(action=action, problem=error.strerror or str(error), root=root) from error
    except (sqlite3.Error, UnicodeError) as error:
        raise LocalStorageError(action=action, problem=str(error), root=root) from error
