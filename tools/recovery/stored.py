"""What is in the storage: objects and rows, in Supabase or in the embedded storage. Looks, and removes."""

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

from shim.http.redaction import RedactedText
from shim.primitives import StoreError
from tools.recovery.service_client import ServiceClient, ServiceFailedError, document_of
from tools.settings import Settings
from tools.storage.local import LocalStorage, ObjectFolder, uploads_db
from tools.storage.placement import FoundObject, candidate_paths, decode_key, encode_key
from tools.storage.port import TABLE, ProviderName, UploadStorage
from tools.transport.rest import Digest

MAX_LISTED = 1000
"""Objects or rows of one page."""

MAX_PAGES = 100
"""Pages that are looked at; with more it is not known what is there."""

_FOLDER_SCHEME = "folder:"
_SUPABASE_SCHEME = "supabase:"
_BUSY_SECONDS = 10.0

Described = Mapping[str, Any]
T = TypeVar("T")


class StorageContents(Protocol):
    """Objects and rows. Every method raises `ServiceFailedError` when the storage does not say or do it.

    Attributes:
        address: how it is written down.
    """

    address: str

    async def look(self, path: str) -> Described | None:
        """What is known of the object `path`: its `id`, `size` and `sha256` among it; None if there is none."""
        ...

    async def digest_of(self, path: str) -> Digest | None:
        """Length and hash of the object's content, which is read for it; None if there is none."""
        ...

    def compared(self, described: Described) -> dict[str, object]:
        """What of the description has to be the same for the same file."""
        ...

    async def objects(self, folder: str, beginning: str = "") -> list[Described]:
        """The objects of a folder whose names begin so: `path`, and `created_at` in seconds since the epoch."""
        ...

    async def remove(self, paths: Sequence[str]) -> None:
        """Remove objects; those that are not there are as good."""
        ...

    async def rows(
        self,
        provider: ProviderName | None = None,
        *,
        ids: Collection[str] | None = None,
        beginning: str | None = None,
        object_id: str | None = None,
    ) -> list[Described]:
        """The rows that meet every condition given.

        Args:
            provider: rows of this provider.
            ids: rows of these of its files.
            beginning: rows of files whose names begin so; letters, digits and hyphens only.
            object_id: rows that name this object as their copy.
        """
        ...

    async def remove_rows(self, provider: ProviderName, ids: Collection[str]) -> None:
        """Remove the rows of these files; those that are not there are as good."""
        ...


async def find_copy(stored: StorageContents, path: str, sha256: str) -> Described | None:
    """The object that holds a content which was to be stored at `path`, with its own `path`; None if there is none."""
    for each in candidate_paths(path, sha256):
        described = await stored.look(each)
        if described is not None and described.get("sha256") == sha256:
            return {**described, "path": each}
    return None


def can_be_read_back(storage: UploadStorage) -> bool:
    """Whether it is known how to read this storage back."""
    return isinstance(storage, LocalStorage) or _supabase_target(storage) is not None


def contents_of(storage: UploadStorage, client: ServiceClient) -> StorageContents:
    """What is in a storage.

    Raises:
        ServiceFailedError: it is not known how to read it back.
    """
    if isinstance(storage, LocalStorage):
        return FolderContents(storage.folder.root, storage.rows_file)
    target = _supabase_target(storage)
    if target is None:
        raise ServiceFailedError("look at what is stored", f"a {type(storage).__name__} cannot be read back")
    return SupabaseContents(url=target.url, key=target.key, bucket=target.bucket, client=client)


def contents_at(address: str, settings: Settings, client: ServiceClient) -> StorageContents | None:
    """What is in the storage that was written down under this address; None if it is not configured here."""
    if address.startswith(_FOLDER_SCHEME):
        root = Path(address.removeprefix(_FOLDER_SCHEME))
        is_ours = root == settings.storage_folder.resolve()
        return FolderContents(root, settings.uploads_db if is_ours else root / "uploads.db")
    url, key = settings.supabase_url, settings.supabase_service_role_key
    beginning = f"{_SUPABASE_SCHEME}{url} "
    if url is None or key is None or not address.startswith(beginning):
        return None
    bucket = address.removeprefix(beginning)
    return SupabaseContents(url=url, key=key.get_secret_value(), bucket=bucket, client=client)


def _supabase_target(storage: UploadStorage) -> Any:
    """Where a Supabase storage stores; its client is not imported for those who do not use it."""
    is_supabase = type(storage).__module__ == "tools.storage.supabase"
    return getattr(storage, "target", None) if is_supabase else None


class FolderContents:
    """Implements `StorageContents` for the embedded storage: files in a folder, rows in SQLite."""

    def __init__(self, root: Path, rows: Path) -> None:
        self.address = f"{_FOLDER_SCHEME}{root.resolve()}"
        self._folder = ObjectFolder(root)
        self._database = uploads_db(rows)

    async def look(self, path: str) -> Described | None:
        """See `StorageContents.look`. The file's inode and time tell a file that was replaced by the same content."""

        def look() -> Described | None:
            found = self._folder.look(path)
            if not isinstance(found, FoundObject):
                return None
            status = self._folder.path_of(path).stat()
            own = {"inode": status.st_ino, "modified": status.st_mtime_ns}
            return {"id": found.object_id, "size": found.size, "sha256": found.sha256, **own}

        return await _in_thread(f"look at the stored {path!r}", look)

    async def digest_of(self, path: str) -> Digest | None:
        """See `StorageContents.digest_of`."""

        def digest() -> Digest | None:
            try:
                with self._folder.path_of(path).open("rb") as stored:
                    sha256 = hashlib.file_digest(stored, "sha256").hexdigest()
                    return Digest(length=stored.tell(), sha256=sha256)
            except FileNotFoundError:
                return None

        return await _in_thread(f"read the stored {path!r}", digest)

    def compared(self, described: Described) -> dict[str, object]:
        """See `StorageContents.compared`."""
        return {"size": described["size"]}

    async def objects(self, folder: str, beginning: str = "") -> list[Described]:
        """See `StorageContents.objects`."""

        def found() -> list[Described]:
            where = self._folder.path_of(folder)
            there = [each for each in where.iterdir() if each.name.startswith(beginning)] if where.is_dir() else []
            return [{"path": f"{folder}/{each.name}", "created_at": each.stat().st_mtime} for each in there]

        return await _in_thread(f"list the objects in {folder!r}", found)

    async def remove(self, paths: Sequence[str]) -> None:
        """See `StorageContents.remove`."""

        def remove() -> None:
            for path in paths:
                self._folder.path_of(path).unlink(missing_ok=True)

        await _in_thread(f"remove {len(paths)} objects", remove)

    async def rows(
        self,
        provider: ProviderName | None = None,
        *,
        ids: Collection[str] | None = None,
        beginning: str | None = None,
        object_id: str | None = None,
    ) -> list[Described]:
        """See `StorageContents.rows`."""
        conditions = {
            "provider = ?": provider,
            "filename GLOB ?": None if beginning is None else f"{beginning}*",
            "supabase_file_id = ?": object_id,
        }
        given = {condition: value for condition, value in conditions.items() if value is not None}
        if ids is None:
            return await self._execute("SELECT * FROM", given)
        found: list[Described] = []
        for identity in ids:
            found += await self._execute("SELECT * FROM", {**given, "provider_file_id = ?": identity})
        return found

    async def remove_rows(self, provider: ProviderName, ids: Collection[str]) -> None:
        """See `StorageContents.remove_rows`."""
        for identity in ids:
            await self._execute("DELETE FROM", {"provider = ?": provider, "provider_file_id = ?": identity})

    async def _execute(self, verb: str, conditions: Mapping[str, str]) -> list[Described]:
        def execute() -> list[Described]:
            if not self._database.exists():
                return []
            with self._database.writing(_BUSY_SECONDS) as database:
                statement = f"{verb} {TABLE} WHERE {' AND '.join(conditions) or 'TRUE'}"  # constants of this module
                return [dict(row) for row in database.execute(statement, tuple(conditions.values()))]

        return await _in_thread(f"look at the rows of {TABLE}", execute)


async def _in_thread(action: str, function: Callable[[], T]) -> T:
    try:
        return await asyncio.to_thread(function)
    except (OSError, StoreError) as error:
        raise ServiceFailedError(action, str(error)) from error


class SupabaseContents:
    """Implements `StorageContents` for Supabase: objects as Storage shows them, rows as PostgREST shows them."""

    def __init__(self, *, url: str, key: str, bucket: str, client: ServiceClient) -> None:
        self.address = f"{_SUPABASE_SCHEME}{url} {bucket}"
        self._storage = f"{url}/storage/v1"
        self._table = f"{url}/rest/v1/{TABLE}"
        self._bucket = bucket
        self._headers = {"apikey": RedactedText(key), "Authorization": RedactedText(f"Bearer {key}")}
        self._client = client

    async def look(self, path: str) -> Described | None:
        """See `StorageContents.look`."""
        action = f"look at the stored {path!r}"
        url = f"{self._storage}/object/info/{self._key(path)}"
        answer = await self._client.ask(action, "GET", url, headers=self._headers)
        if answer.status == HTTPStatus.NOT_FOUND:
            return None
        described = document_of(action, answer)
        if not isinstance(described, dict) or not isinstance(described.get("id"), str):
            raise ServiceFailedError(action, "the answer does not describe an object")
        metadata = described.get("metadata")
        return {**described, "sha256": metadata.get("sha256") if isinstance(metadata, dict) else None}

    async def digest_of(self, path: str) -> Digest | None:
        """See `StorageContents.digest_of`."""
        url = f"{self._storage}/object/authenticated/{self._key(path)}"
        return await self._client.digest_of(f"read the stored {path!r}", url, headers=self._headers)

    def compared(self, described: Described) -> dict[str, object]:
        """See `StorageContents.compared`."""
        return {name: described.get(name) for name in ("size", "content_type", "cache_control", "metadata")}

    async def objects(self, folder: str, beginning: str = "") -> list[Described]:
        """See `StorageContents.objects`."""
        action, url = f"list the objects in {folder!r}", f"{self._storage}/object/list/{quote(self._bucket)}"
        begins = encode_key(beginning)
        objects: list[Described] = []
        for number in range(MAX_PAGES):
            query = {"prefix": folder, "search": begins, "limit": MAX_LISTED, "offset": number * MAX_LISTED}
            answer = await self._client.ask(action, "POST", url, headers=self._headers, document=query)
            if answer.status == HTTPStatus.NOT_FOUND:
                return []  # no bucket, no objects
            found = _list_of(action, document_of(action, answer))
            objects += [
                {"path": f"{folder}/{decode_key(name)}", "created_at": _seconds(each.get("created_at"))}
                for each in found
                if each.get("id") is not None
                and (name := str(each["name"])).isascii()  # ours are, see `encode_key`
                and name.startswith(begins)
            ]
            if len(found) < MAX_LISTED:
                return objects
        raise ServiceFailedError(action, f"there are {MAX_PAGES * MAX_LISTED} or more")

    async def remove(self, paths: Sequence[str]) -> None:
        """See `StorageContents.remove`."""
        if paths:
            action, url = f"remove {len(paths)} objects", f"{self._storage}/object/{quote(self._bucket)}"
            keys = {"prefixes": [encode_key(path) for path in paths]}
            document_of(action, await self._client.ask(action, "DELETE", url, headers=self._headers, document=keys))

    async def rows(
        self,
        provider: ProviderName | None = None,
        *,
        ids: Collection[str] | None = None,
        beginning: str | None = None,
        object_id: str | None = None,
    ) -> list[Described]:
        """See `StorageContents.rows`."""
        if ids is not None and not ids:
            return []
        action = f"look at the rows of {TABLE}"
        conditions = {
            "provider": None if provider is None else f"eq.{provider}",
            "provider_file_id": None if ids is None else _one_of(ids),
            "filename": None if beginning is None else f"like.{beginning}*",
            "supabase_file_id": None if object_id is None else f"eq.{object_id}",
        }
        query = {name: value for name, value in conditions.items() if value is not None}
        rows: list[Described] = []
        for number in range(MAX_PAGES):
            page = {"select": "*", "order": "id", "limit": str(MAX_LISTED), "offset": str(number * MAX_LISTED)}
            answer = await self._client.ask(action, "GET", self._table, headers=self._headers, params=query | page)
            found = _list_of(action, document_of(action, answer))
            rows += found
            if len(found) < MAX_LISTED:
                return rows
        raise ServiceFailedError(action, f"there are {MAX_PAGES * MAX_LISTED} or more")

    async def remove_rows(self, provider: ProviderName, ids: Collection[str]) -> None:
        """See `StorageContents.remove_rows`."""
        if ids:
            action, query = f"remove {len(ids)} rows", {"provider": f"eq.{provider}", "provider_file_id": _one_of(ids)}
            document_of(
                action, await self._client.ask(action, "DELETE", self._table, headers=self._headers, params=query)
            )

    def _key(self, path: str) -> str:
        return f"{quote(self._bucket)}/{quote(encode_key(path), safe='/')}"


def _one_of(ids: Collection[str]) -> str:
    """PostgREST's filter. https://docs.postgrest.org/en/stable/references/api/url_grammar.html#reserved-characters."""
    escaped = (identity.replace("\\", "\\\\").replace('"', '\\"') for identity in ids)
    return "in.({})".format(",".join(f'"{identity}"' for identity in escaped))


def _list_of(action: str, document: object) -> list[Described]:
    if not isinstance(document, list) or not all(isinstance(each, dict) for each in document):
        raise ServiceFailedError(action, "the answer is no list of objects")
    return document


def _seconds(moment: object) -> float:
    """Seconds since the epoch, for a time as Postgres' JSON shows it.

    What cannot be read counts as this moment: nothing is removed because of its age then.
    """
    try:
        return datetime.fromisoformat(str(moment)).timestamp()
    except ValueError:
        return time.time()
