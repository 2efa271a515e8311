"""The embedded storage: a folder for the copies, SQLite for the rows. Safe for many threads and processes."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, ParamSpec, Self, TypeVar

from shim.http.recording import OperationNote, noted_operation
from shim.primitives import Database, StoreError, copy_rows, execute_all, make_private_folder
from tools.storage.placement import (
    Absent,
    CreateBucket,
    Done,
    FoundObject,
    Look,
    Outcome,
    Put,
    Step,
    Stored,
    Taken,
    place,
)
from tools.storage.port import ROW_KEY, TABLE, LocalStorageError, ProviderName, UploadRow
from tools.transport.loops import drive, drive_async, run_in_thread

if TYPE_CHECKING:
    from tools.transport.reading import FileSource

_TABLES = """
CREATE TABLE upload_intents (
  upload_id TEXT PRIMARY KEY, provider TEXT NOT NULL, account TEXT NOT NULL, purpose TEXT NOT NULL,
  sha256 TEXT NOT NULL, filename TEXT NOT NULL, size INTEGER NOT NULL, path TEXT NOT NULL, side TEXT NOT NULL,
  began_at REAL NOT NULL, state TEXT NOT NULL, supabase_file_id TEXT, provider_file_id TEXT, attempts INTEGER,
  error TEXT, owner TEXT, lease_until REAL, updated_at REAL NOT NULL, finished_at REAL
);
CREATE UNIQUE INDEX upload_intents_claim ON upload_intents (sha256, provider, account, purpose)
  WHERE state IN ('intended', 'stored', 'sending', 'delivered');
CREATE INDEX upload_intents_content ON upload_intents (sha256, finished_at);
CREATE INDEX upload_intents_finished ON upload_intents (finished_at) WHERE state IN ('done', 'failed');
CREATE INDEX upload_intents_unfinished ON upload_intents (began_at, upload_id)
  WHERE state IN ('intended', 'stored', 'sending', 'delivered', 'unknown', 'abandoned');
CREATE TABLE unjournaled (id INTEGER PRIMARY KEY CHECK (id = 1), uploads INTEGER, last_at REAL);

CREATE TABLE provider_file_uploads (
  id TEXT PRIMARY KEY, provider TEXT NOT NULL, provider_file_id TEXT NOT NULL, supabase_file_id TEXT,
  sha256 TEXT NOT NULL, filename TEXT NOT NULL, file_size_bytes INTEGER NOT NULL,
  upload_status TEXT NOT NULL CHECK (upload_status IN ('pending', 'completed', 'failed', 'deleted')),
  upload_method TEXT NOT NULL, error_message TEXT, last_used TEXT, created_at TEXT NOT NULL, updated_at TEXT NOT NULL,
  UNIQUE (provider, provider_file_id)
);
CREATE INDEX provider_file_uploads_sha256 ON provider_file_uploads (sha256)
"""

_JOURNAL, _ROWS = "journal.db", "storage/uploads.db"
"""What earlier versions wrote, seen from the folder of this file."""


def uploads_db(path: Path) -> Database:
    """The file at `path` with the tables of this module."""
    return Database(path, (_make_tables, _take_over), earlier=(_JOURNAL, _ROWS))


def _make_tables(database: sqlite3.Connection, _path: Path) -> None:
    execute_all(database, _TABLES)


def _take_over(database: sqlite3.Connection, path: Path) -> None:
    """Copy the rows of the single files that earlier versions wrote; these stay as they are."""
    intents = {name: (name, "*") for name in ("upload_intents", "unjournaled")}
    copy_rows(path.parent / _JOURNAL, database, into=path, version=1, tables=intents)
    rows = {"provider_file_uploads": ("provider_file_uploads", "*")}
    copy_rows(path.parent / _ROWS, database, into=path, version=0, tables=rows)


_PRIVATE_FOLDER = 0o700
_PRIVATE_FILE = 0o600
_ABANDONED_SECONDS = 24 * 3600

_OBJECT_IDS = uuid.UUID("8a0f0a0c-6f0e-4b5f-9d53-7d1f2c5f0b6e")
"""Namespace of the ids: an object's id follows from its path, so that the folder alone is the truth."""


class ObjectFolder:
    """Objects under `root/objects`, readable for this user only.

    A copy is written beside the objects, synced, and then hard-linked to its path, which fails if something is there:
    that is atomic for all threads and processes. The file system must have hard links.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.objects = root / "objects"
        self.incoming = root / "incoming"

    def prepare(self) -> None:
        """Create the folders that are missing."""
        for folder in (self.objects, self.incoming):
            make_private_folder(folder)

    def sweep(self) -> None:
        """Remove what processes that died left on its way in."""
        oldest = time.time() - _ABANDONED_SECONDS
        for temporary in self.incoming.iterdir():
            with suppress(FileNotFoundError):  # its own process was quicker
                if temporary.stat().st_mtime < oldest:
                    temporary.unlink()

    def path_of(self, path: str) -> Path:
        """The file that holds the object `path`."""
        return self.objects / path

    def look(self, path: str) -> FoundObject | Absent:
        """What is stored at `path`."""
        try:
            with self.path_of(path).open("rb") as stored:
                digest = hashlib.file_digest(stored, "sha256").hexdigest()
                return FoundObject(object_id=_object_id(path), size=stored.tell(), sha256=digest)
        except FileNotFoundError:
            return Absent()


class Arrival:
    """A copy on its way into the folder: written, then published, and in any case closed."""

    def __init__(self, folder: ObjectFolder) -> None:
        self._folder = folder
        self._temporary = folder.incoming / uuid.uuid4().hex
        self._handle: BinaryIO | None = None

    def write(self, piece: bytes) -> None:
        """Append to the copy."""
        self._opened().write(piece)

    def publish(self, path: str) -> Stored | Taken:
        """Make the copy the object `path`, unless there is one."""
        handle = self._opened()
        handle.flush()
        os.fsync(handle.fileno())
        target = self._folder.path_of(path)
        target.parent.mkdir(mode=_PRIVATE_FOLDER, parents=True, exist_ok=True)
        try:
            target.hardlink_to(self._temporary)
        except FileExistsError:
            return Taken()
        _sync_folder(target.parent)
        return Stored(object_id=_object_id(path))

    def close(self) -> None:
        """Remove the temporary file; a published object stays."""
        try:
            if self._handle is not None:
                self._handle.close()
        finally:
            self._temporary.unlink(missing_ok=True)

    def _opened(self) -> BinaryIO:
        if self._handle is None:
            self._folder.prepare()
            self._folder.sweep()
            descriptor = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE_FILE)
            self._handle = os.fdopen(descriptor, "wb")
        return self._handle

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _object_id(path: str) -> str:
    return str(uuid.uuid5(_OBJECT_IDS, path.encode("utf-8", "surrogatepass").hex()))


def _sync_folder(folder: Path) -> None:
    """Make a new name in `folder` outlive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# The table of uploads in SQLite.

_COLUMNS = tuple(field.name for field in fields(UploadRow))
_KEPT_ON_CONFLICT = {*ROW_KEY, "id", "created_at"}
_BUSY_SECONDS = 30.0

_WRITE = (
    f"INSERT INTO {TABLE} ({', '.join(_COLUMNS)}) VALUES ({', '.join(':' + name for name in _COLUMNS)}) "  # noqa: S608  # names from this module only
    f"ON CONFLICT ({', '.join(ROW_KEY)}) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS if name not in _KEPT_ON_CONFLICT)
)

_FIND = (
    f"SELECT {', '.join(_COLUMNS)} FROM {TABLE} "  # noqa: S608  # as above
    "WHERE sha256 = ? AND provider = ? AND upload_status = 'completed' ORDER BY created_at DESC, id LIMIT 1"
)


class LocalRows:
    """Rows in one database file."""

    def __init__(self, path: Path) -> None:
        self._database = uploads_db(path)

    def write(self, row: UploadRow) -> None:
        """Insert the row, or replace the one with the same key; its id and its time of creation stay."""
        now = datetime.now(UTC).isoformat()
        given = {"id": row.id or str(uuid.uuid4()), "created_at": row.created_at or now, "updated_at": now}
        with self._database.writing(_BUSY_SECONDS) as database:
            database.execute(_WRITE, asdict(row) | given)

    def find(self, *, sha256: str, provider: ProviderName) -> UploadRow | None:
        """The latest completed row of this content and provider."""
        with self._database.reading(_BUSY_SECONDS) as database:
            found = database.execute(_FIND, (sha256, provider)).fetchone() if database else None
        return None if found is None else UploadRow(**dict(zip(_COLUMNS, found, strict=True)))


P = ParamSpec("P")
T = TypeVar("T")


class LocalStorage:
    """Keeps copies under `root/objects` and rows in an SQLite file. Implements `UploadStorage`.

    Args:
        root: the folder.
        rows: the file; `root/uploads.db` by default.
    """

    def __init__(self, root: Path, rows: Path | None = None) -> None:
        self.folder = ObjectFolder(root)
        self.rows_file = rows or root / "uploads.db"
        self._rows = LocalRows(self.rows_file)

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
            return note.answered(drive(place(file_path, size=len(file_data), sha256=digest), perform))

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
            return note.answered(await drive_async(placement, perform))

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
    """Let a replay know what was answered: this storage is not reached over HTTP, where it would be seen."""
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
    except StoreError as error:
        raise LocalStorageError(action=action, problem=error.problem, root=root) from error
    except (sqlite3.Error, UnicodeError) as error:
        raise LocalStorageError(action=action, problem=str(error), root=root) from error
