"""Reads back and cleans up the embedded storage: files in a folder, rows in SQLite."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol, TypeVar

from tools.recovery.rest_client import Asker, Digest, ServiceFailedError
from tools.recovery.supabase_place import SupabasePlace
from tools.settings import Settings
from tools.storage.local import LocalStorage, ObjectFolder
from tools.storage.placement import Found
from tools.storage.port import TABLE, ProviderName, UploadStorage

T = TypeVar("T")

_SCHEME = "folder:"
_BUSY_SECONDS = 10.0


class LocalPlace:
    """Implements `Place`."""

    def __init__(self, root: Path) -> None:
        self.address = f"{_SCHEME}{root.resolve()}"
        self._folder = ObjectFolder(root)
        self._database = root / "uploads.db"

    @staticmethod
    def root_of(address: str) -> Path | None:
        """The folder of a place that was written down, if it was one."""
        return Path(address.removeprefix(_SCHEME)) if address.startswith(_SCHEME) else None

    async def look(self, path: str) -> Mapping[str, Any] | None:
        """See `Place.look`. The file's inode and time tell a file that was replaced by the same content."""

        def look() -> Mapping[str, Any] | None:
            found = self._folder.look(path)
            if not isinstance(found, Found):
                return None
            status = self._folder.path_of(path).stat()
            own = {"inode": status.st_ino, "modified": status.st_mtime_ns}
            return {"id": found.object_id, "size": found.size, "sha256": found.sha256, **own}

        return await _in_thread(f"look at the stored {path!r}", look)

    async def digest_of(self, path: str) -> Digest | None:
        """See `Place.digest_of`."""

        def digest() -> Digest | None:
            try:
                with self._folder.path_of(path).open("rb") as stored:
                    sha256 = hashlib.file_digest(stored, "sha256").hexdigest()
                    return Digest(length=stored.tell(), sha256=sha256)
            except FileNotFoundError:
                return None

        return await _in_thread(f"read the stored {path!r}", digest)

    def compared(self, described: Mapping[str, Any]) -> dict[str, object]:
        """See `Place.compared`."""
        return {"size": described["size"]}

    async def marked(self, folder: str, mark: str) -> list[str]:
        """See `Place.marked`."""

        def names() -> list[str]:
            where = self._folder.path_of(folder)
            return (
                [f"{folder}/{each.name}" for each in where.iterdir() if each.name.startswith(mark)]
                if where.is_dir()
                else []
            )

        return await _in_thread(f"list the objects in {folder!r}", names)

    async def remove(self, paths: Sequence[str]) -> None:
        """See `Place.remove`."""

        def remove() -> None:
            for path in paths:
                self._folder.path_of(path).unlink(missing_ok=True)

        await _in_thread(f"remove {len(paths)} objects", remove)

    async def rows(self, provider: ProviderName, ids: Collection[str]) -> list[Mapping[str, Any]]:
        """See `Place.rows`."""
        found = []
        for identity in ids:
            found += await self._execute("SELECT * FROM", "provider = ? AND provider_file_id = ?", provider, identity)
        return found

    async def marked_rows(self, provider: ProviderName, mark: str) -> list[str]:
        """See `Place.marked_rows`."""
        found = await self._execute("SELECT * FROM", "provider = ? AND filename GLOB ?", provider, f"{mark}*")
        return [str(row["provider_file_id"]) for row in found]

    async def remove_rows(self, provider: ProviderName, ids: Collection[str]) -> None:
        """See `Place.remove_rows`."""
        for identity in ids:
            await self._execute("DELETE FROM", "provider = ? AND provider_file_id = ?", provider, identity)

    async def rows_about(self, object_id: str) -> list[Mapping[str, Any]]:
        """See `Place.rows_about`."""
        return await self._execute("SELECT * FROM", "supabase_file_id = ?", object_id)

    async def all_rows(self) -> list[Mapping[str, Any]]:
        """See `Place.all_rows`."""
        return await self._execute("SELECT * FROM", "TRUE")

    async def objects(self, folder: str) -> list[Mapping[str, Any]]:
        """See `Place.objects`."""

        def found() -> list[Mapping[str, Any]]:
            where = self._folder.path_of(folder)
            return (
                [{"path": f"{folder}/{each.name}", "created_at": each.stat().st_mtime} for each in where.iterdir()]
                if where.is_dir()
                else []
            )

        return await _in_thread(f"list the objects in {folder!r}", found)

    async def _execute(self, verb: str, condition: str, *values: str) -> list[Mapping[str, Any]]:
        def execute() -> list[Mapping[str, Any]]:
            if not self._database.exists():
                return []
            with closing(sqlite3.connect(self._database, timeout=_BUSY_SECONDS)) as database:
                database.row_factory = sqlite3.Row
                if not database.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (TABLE,)).fetchone():
                    return []
                with database:
                    statement = f"{verb} {TABLE} WHERE {condition}"  # constants of this module
                    return [dict(row) for row in database.execute(statement, values)]

        return await _in_thread(f"look at the rows of {TABLE}", execute)


async def _in_thread(action: str, function: Callable[[], T]) -> T:
    try:
        return await asyncio.to_thread(function)
    except (OSError, sqlite3.Error) as error:
        raise ServiceFailedError(action, str(error)) from error


# Where copies and rows are kept, as far as it can be looked at and tidied up.

Described = Mapping[str, Any]


class Place(Protocol):
    """A storage, as whoever reads back and cleans up needs it.

    Every method raises `ServiceFailedError` when the storage does not say or do it.

    Attributes:
        address: how it is written down.
    """

    address: str

    async def look(self, path: str) -> Described | None:
        """What is known of the object `path`, its `id` and `sha256` among it; None if there is none."""
        ...

    async def digest_of(self, path: str) -> Digest | None:
        """What the object really holds."""
        ...

    def compared(self, described: Described) -> dict[str, object]:
        """What of the description has to be the same for the same file."""
        ...

    async def marked(self, folder: str, mark: str) -> list[str]:
        """The paths of the objects in a folder whose names begin with the mark."""
        ...

    async def remove(self, paths: Sequence[str]) -> None:
        """Remove objects; those that are not there are as good."""
        ...

    async def rows(self, provider: ProviderName, ids: Collection[str]) -> list[Described]:
        """The rows of these files."""
        ...

    async def marked_rows(self, provider: ProviderName, mark: str) -> list[str]:
        """The provider's file ids in the rows whose file names begin with the mark."""
        ...

    async def remove_rows(self, provider: ProviderName, ids: Collection[str]) -> None:
        """Remove the rows of these files; those that are not there are as good."""
        ...

    async def rows_about(self, object_id: str) -> list[Described]:
        """The rows that name this object as their copy."""
        ...

    async def all_rows(self) -> list[Described]:
        """All rows."""
        ...

    async def objects(self, folder: str) -> list[Described]:
        """All objects in a folder: `path`, and `created_at` in seconds since the epoch."""
        ...


def can_be_read_back(storage: UploadStorage) -> bool:
    """Whether it is known how to read this storage back."""
    return isinstance(storage, LocalStorage) or _supabase_target(storage) is not None


def place_of(storage: UploadStorage, asker: Asker) -> Place:
    """How to read back and clean up a storage that can be read back."""
    if isinstance(storage, LocalStorage):
        return LocalPlace(storage.folder.root)
    target = _supabase_target(storage)
    assert target is not None  # noqa: S101  # what `can_be_read_back` is for
    return SupabasePlace(url=target.url, key=target.key, bucket=target.bucket, asker=asker)


def place_at(address: str, settings: Settings, asker: Asker) -> Place | None:
    """The place that was written down under this address; None if the configuration does not lead there."""
    if (root := LocalPlace.root_of(address)) is not None:
        return LocalPlace(root)
    bucket = SupabasePlace.bucket_at(address, settings.supabase_url or "")
    if bucket is None or settings.supabase_url is None or settings.supabase_service_role_key is None:
        return None
    key = settings.supabase_service_role_key.get_secret_value()
    return SupabasePlace(url=settings.supabase_url, key=key, bucket=bucket, asker=asker)


def _supabase_target(storage: UploadStorage) -> Any:
    """Where a Supabase storage stores, without importing its client for those who do not use it."""
    is_supabase = type(storage).__module__.startswith("tools.storage.supabase")
    return getattr(storage, "target", None) if is_supabase else None
