"""Reads back and cleans up the embedded storage: files in a folder, rows in SQLite."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import quote

from shim.http.redaction import HiddenText
from shim.sqlite import StoreError
from tools.recovery.rest_client import Answer, Asker, Digest, ServiceFailedError
from tools.settings import Settings
from tools.storage.local import LocalStorage, ObjectFolder
from tools.storage.placement import Found, decode_key, encode_key
from tools.storage.port import TABLE, ProviderName, UploadStorage
from tools.storage.uploads_db import uploads_db

MAX_LISTED = 1000
"""Objects of one mark that a listing shows; objects or rows of one page."""

MAX_PAGES = 100
"""Pages that are looked at where all objects or rows are asked for."""

_SUPABASE_SCHEME = "supabase:"


class SupabasePlace:
    """Implements `Place`."""

    def __init__(self, *, url: str, key: str, bucket: str, asker: Asker) -> None:
        self.address = f"{_SUPABASE_SCHEME}{url} {bucket}"
        self._storage = f"{url}/storage/v1"
        self._table = f"{url}/rest/v1/{TABLE}"
        self._bucket = bucket
        self._headers = {"apikey": HiddenText(key), "Authorization": HiddenText(f"Bearer {key}")}
        self._asker = asker

    @staticmethod
    def bucket_at(address: str, url: str) -> str | None:
        """The bucket of a place that was written down, if it is at this URL."""
        beginning = f"{_SUPABASE_SCHEME}{url} "
        return address.removeprefix(beginning) if address.startswith(beginning) else None

    async def look(self, path: str) -> Mapping[str, Any] | None:
        """See `Place.look`."""
        action = f"look at the stored {path!r}"
        answer = await self._ask(action, "GET", f"{self._storage}/object/info/{self._key(path)}")
        if answer.status == HTTPStatus.NOT_FOUND:
            return None
        described = _succeeded(action, answer)
        if not isinstance(described, dict) or not isinstance(described.get("id"), str):
            raise ServiceFailedError(action, "the answer does not describe an object")
        metadata = described.get("metadata")
        return {**described, "sha256": metadata.get("sha256") if isinstance(metadata, dict) else None}

    async def digest_of(self, path: str) -> Digest | None:
        """See `Place.digest_of`."""
        url = f"{self._storage}/object/authenticated/{self._key(path)}"
        return await self._asker.digest_of(f"read the stored {path!r}", url, headers=self._headers)

    def compared(self, described: Mapping[str, Any]) -> dict[str, object]:
        """See `Place.compared`."""
        return {name: described.get(name) for name in ("size", "content_type", "cache_control", "metadata")}

    async def marked(self, folder: str, mark: str) -> list[str]:
        """See `Place.marked`."""
        action = f"list the objects in {folder!r}"
        query = {"prefix": folder, "search": mark, "limit": MAX_LISTED, "offset": 0}
        found = await self._listed(action, query)
        if len(found) >= MAX_LISTED:
            raise ServiceFailedError(action, "the answer does not list all objects")
        names = [str(each["name"]) for each in found if each.get("id") is not None]
        return [f"{folder}/{decode_key(name)}" for name in names if name.startswith(mark)]

    async def remove(self, paths: Sequence[str]) -> None:
        """See `Place.remove`."""
        if paths:
            action = f"remove {len(paths)} objects"
            keys = {"prefixes": [encode_key(path) for path in paths]}
            url = f"{self._storage}/object/{quote(self._bucket)}"
            _succeeded(action, await self._ask(action, "DELETE", url, document=keys))

    async def rows(self, provider: ProviderName, ids: Collection[str]) -> list[Mapping[str, Any]]:
        """See `Place.rows`."""
        if not ids:
            return []
        return await self._select({"provider": f"eq.{provider}", "provider_file_id": _one_of(ids), "select": "*"})

    async def marked_rows(self, provider: ProviderName, mark: str) -> list[str]:
        """See `Place.marked_rows`."""
        query = {"provider": f"eq.{provider}", "filename": f"like.{mark}*", "select": "provider_file_id"}
        return [str(row["provider_file_id"]) for row in await self._select(query)]

    async def remove_rows(self, provider: ProviderName, ids: Collection[str]) -> None:
        """See `Place.remove_rows`."""
        if ids:
            action = f"remove {len(ids)} rows"
            query = {"provider": f"eq.{provider}", "provider_file_id": _one_of(ids)}
            _succeeded(action, await self._ask(action, "DELETE", self._table, params=query))

    async def rows_about(self, object_id: str) -> list[Mapping[str, Any]]:
        """See `Place.rows_about`."""
        return await self._select({"supabase_file_id": f"eq.{object_id}", "select": "*"})

    async def all_rows(self) -> list[Mapping[str, Any]]:
        """See `Place.all_rows`."""
        rows: list[Mapping[str, Any]] = []
        for number in range(MAX_PAGES):
            page = {"limit": str(MAX_LISTED), "offset": str(number * MAX_LISTED)}
            found = await self._select({"select": "*", "order": "id", **page})
            rows += found
            if len(found) < MAX_LISTED:
                return rows
        raise ServiceFailedError(f"look at the rows of {TABLE}", f"there are {MAX_PAGES * MAX_LISTED} or more")

    async def objects(self, folder: str) -> list[Mapping[str, Any]]:
        """See `Place.objects`."""
        action = f"list the objects in {folder!r}"
        objects: list[Mapping[str, Any]] = []
        for number in range(MAX_PAGES):
            query = {"prefix": folder, "limit": MAX_LISTED, "offset": number * MAX_LISTED}
            found = await self._listed(action, query)
            objects += [
                {"path": f"{folder}/{decode_key(str(each['name']))}", "created_at": _seconds(each.get("created_at"))}
                for each in found
                if each.get("id") is not None and str(each["name"]).isascii()  # ours are, see `encode_key`
            ]
            if len(found) < MAX_LISTED:
                return objects
        raise ServiceFailedError(action, f"there are {MAX_PAGES * MAX_LISTED} or more")

    async def _listed(self, action: str, query: Mapping[str, object]) -> list[Mapping[str, Any]]:
        url = f"{self._storage}/object/list/{quote(self._bucket)}"
        answer = await self._ask(action, "POST", url, document=query)
        if answer.status == HTTPStatus.NOT_FOUND:
            return []  # no bucket, no objects
        found = _succeeded(action, answer)
        if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
            raise ServiceFailedError(action, "the answer is no list of objects")
        return found

    async def _select(self, query: Mapping[str, str]) -> list[Mapping[str, Any]]:
        action = f"look at the rows of {TABLE}"
        found = _succeeded(action, await self._ask(action, "GET", self._table, params=query))
        if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
            raise ServiceFailedError(action, "the answer is no list of rows")
        return found

    async def _ask(
        self, action: str, method: str, url: str, *, params: Mapping[str, str] | None = None, document: object = None
    ) -> Answer:
        return await self._asker.ask(action, method, url, headers=self._headers, params=params, document=document)

    def _key(self, path: str) -> str:
        return f"{quote(self._bucket)}/{quote(encode_key(path), safe='/')}"


def _one_of(ids: Collection[str]) -> str:
    """PostgREST's filter. https://docs.postgrest.org/en/stable/references/api/url_grammar.html#reserved-characters."""
    escaped = (identity.replace("\\", "\\\\").replace('"', '\\"') for identity in ids)
    return "in.({})".format(",".join(f'"{identity}"' for identity in escaped))


def _seconds(moment: object) -> float:
    """Seconds since the epoch, for a time as Postgres' JSON shows it.

    What cannot be read counts as this moment: nothing is removed because of its age then.
    """
    try:
        return datetime.fromisoformat(str(moment)).timestamp()
    except ValueError:
        return time.time()


def _succeeded(action: str, answer: Answer) -> Any:
    if not answer.succeeded:
        raise ServiceFailedError(action, f"HTTP {answer.status}")
    return answer.document()


# Reads back and cleans up the embedded storage: files in a folder, rows in SQLite.

T = TypeVar("T")

_SCHEME = "folder:"
_BUSY_SECONDS = 10.0


class LocalPlace:
    """Implements `Place`."""

    def __init__(self, root: Path, rows: Path) -> None:
        self.address = f"{_SCHEME}{root.resolve()}"
        self._folder = ObjectFolder(root)
        self._database = uploads_db(rows)

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
            with self._database.writing(_BUSY_SECONDS) as database:
                statement = f"{verb} {TABLE} WHERE {condition}"  # constants of this module
                return [dict(row) for row in database.execute(statement, values)]

        return await _in_thread(f"look at the rows of {TABLE}", execute)


async def _in_thread(action: str, function: Callable[[], T]) -> T:
    try:
        return await asyncio.to_thread(function)
    except (OSError, StoreError) as error:
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
        return LocalPlace(storage.folder.root, storage.rows_file)
    target = _supabase_target(storage)
    assert target is not None  # noqa: S101  # what `can_be_read_back` is for
    return SupabasePlace(url=target.url, key=target.key, bucket=target.bucket, asker=asker)


def place_at(address: str, settings: Settings, asker: Asker) -> Place | None:
    """The place that was written down under this address; None if the configuration does not lead there."""
    if (root := LocalPlace.root_of(address)) is not None:
        is_ours = root == settings.storage_folder.resolve()
        return LocalPlace(root, settings.uploads_db if is_ours else root / "uploads.db")
    bucket = SupabasePlace.bucket_at(address, settings.supabase_url or "")
    if bucket is None or settings.supabase_url is None or settings.supabase_service_role_key is None:
        return None
    key = settings.supabase_service_role_key.get_secret_value()
    return SupabasePlace(url=settings.supabase_url, key=key, bucket=bucket, asker=asker)


def _supabase_target(storage: UploadStorage) -> Any:
    """Where a Supabase storage stores, without importing its client for those who do not use it."""
    is_supabase = type(storage).__module__.startswith("tools.storage.supabase")
    return getattr(storage, "target", None) if is_supabase else None
