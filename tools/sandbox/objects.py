"""The buckets and objects of the stand-in for Supabase Storage."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tools.sandbox.intake import File
from tools.sandbox.store import SandboxStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """A bucket; `file_size_limit` is in bytes."""

    id: str
    name: str
    public: bool
    file_size_limit: int | None
    allowed_mime_types: tuple[str, ...] | None
    created_at: str
    updated_at: str

    def to_json(self) -> dict[str, Any]:
        """The bucket as Storage shows it."""
        return {
            "id": self.id,
            "name": self.name,
            "owner": "",
            "public": self.public,
            "file_size_limit": self.file_size_limit,
            "allowed_mime_types": None if self.allowed_mime_types is None else list(self.allowed_mime_types),
            "created_at": self.created_at,
            "updated_at": self.updated_at,
        }

    def accepts(self, content_type: str) -> bool:
        """Whether an object of this media type may be put here."""
        if not self.allowed_mime_types:
            return True
        kind = content_type.partition(";")[0].strip()
        return kind in self.allowed_mime_types or f"{kind.partition('/')[0]}/*" in self.allowed_mime_types


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """An object; `metadata` is the user's own."""

    bucket: str
    name: str
    id: str
    version: str
    bytes: int
    sha256: str
    content_type: str
    cache_control: str
    metadata: Mapping[str, Any]
    created_at: str
    updated_at: str
    body: str

    @property
    def etag(self) -> str:
        """An entity tag that depends on the content alone."""
        return f'"{self.sha256[:32]}"'

    def row(self, *, name: str | None = None) -> dict[str, Any]:
        """The object as listings and removals show it."""
        return {
            "name": self.name if name is None else name,
            "id": self.id,
            "bucket_id": self.bucket,
            "owner": "",
            "version": self.version,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
            "last_accessed_at": self.updated_at,
            "metadata": {
                "eTag": self.etag,
                "size": self.bytes,
                "mimetype": self.content_type,
                "cacheControl": self.cache_control,
                "lastModified": self.updated_at,
                "contentLength": self.bytes,
                "httpStatusCode": 200,
            },
            "user_metadata": dict(self.metadata),
        }

    def info(self) -> dict[str, Any]:
        """The object as `info` shows it."""
        return {
            "id": self.id,
            "name": self.name,
            "version": self.version,
            "bucket_id": self.bucket,
            "size": self.bytes,
            "content_type": self.content_type,
            "cache_control": self.cache_control,
            "etag": self.etag,
            "metadata": dict(self.metadata),
            "last_modified": self.updated_at,
            "created_at": self.created_at,
        }


class Objects:
    """All buckets and what is in them."""

    def __init__(self, store: SandboxStore, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock

    def add_bucket(
        self,
        identity: str,
        *,
        public: bool = False,
        file_size_limit: int | None = None,
        allowed_mime_types: Iterable[str] | None = None,
    ) -> None:
        """Create a bucket that does not exist yet."""
        now = timestamp(self._clock())
        self._store.insert(
            "buckets",
            {
                "id": identity,
                "name": identity,
                "public": public,
                "file_size_limit": file_size_limit,
                "allowed_mime_types": None if allowed_mime_types is None else json.dumps(list(allowed_mime_types)),
                "created_at": now,
                "updated_at": now,
            },
        )

    def bucket(self, identity: str) -> Bucket | None:
        """The bucket with this id."""
        return next((bucket for bucket in self.buckets() if bucket.id == identity), None)

    def buckets(self) -> list[Bucket]:
        """All buckets."""
        rows = self._store.rows("SELECT * FROM buckets ORDER BY id")
        return [
            Bucket(
                **{**dict(row), "public": bool(row["public"]), "allowed_mime_types": _types(row["allowed_mime_types"])}
            )
            for row in rows
        ]

    def put(
        self, bucket: str, name: str, file: File, *, cache_control: str, metadata: Mapping[str, Any]
    ) -> StoredObject:
        """Keep a file under this name, replacing what was there."""
        if file.body is None:
            raise ValueError(f"{name} was too long to be kept")
        former = self.find(bucket, name)
        now = timestamp(self._clock())
        stored = StoredObject(
            bucket=bucket,
            name=name,
            id=former.id if former else str(uuid.uuid4()),
            version=str(uuid.uuid4()),
            bytes=file.bytes,
            sha256=file.sha256,
            content_type=file.content_type,
            cache_control=cache_control,
            metadata=metadata,
            created_at=former.created_at if former else now,
            updated_at=now,
            body=file.body.name,
        )
        with self._store.transaction():
            self._store.rows("DELETE FROM objects WHERE bucket = ? AND name = ?", (bucket, name))
            self._store.insert("objects", {**_columns(stored), "metadata": json.dumps(metadata)})
        file.body.owned = True
        if former:
            self._store.remove_body(former.body)
        return stored

    def find(self, bucket: str, name: str) -> StoredObject | None:
        """The object with this name."""
        row = self._store.row("SELECT * FROM objects WHERE bucket = ? AND name = ?", (bucket, name))
        return None if row is None else _stored(dict(row))

    def remove(self, stored: StoredObject) -> None:
        """Delete an object and its body."""
        self._store.rows("DELETE FROM objects WHERE bucket = ? AND name = ?", (stored.bucket, stored.name))
        self._store.remove_body(stored.body)

    def all(self, bucket: str | None = None) -> list[StoredObject]:
        """All objects, of one bucket or of all, by name."""
        sql = "SELECT * FROM objects WHERE ? IS NULL OR bucket = ? ORDER BY bucket, name"
        return [_stored(dict(row)) for row in self._store.rows(sql, (bucket, bucket))]


def folder_listing(objects: Iterable[StoredObject], prefix: str, search: str = "") -> list[dict[str, Any]]:
    """What lies directly in a folder: objects by their last name, folders with an id of None."""
    folder = prefix.strip("/")
    start = f"{folder}/" if folder else ""
    found: dict[str, dict[str, Any]] = {}
    for stored in objects:
        if not stored.name.startswith(start):
            continue
        name, slash, _ = stored.name[len(start) :].partition("/")
        if search.lower() in name.lower():
            found.setdefault(name, _folder(name) if slash else stored.row(name=name))
    return list(found.values())


def timestamp(seconds: float) -> str:
    """Seconds since the epoch as Postgres' JSON shows them."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _folder(name: str) -> dict[str, Any]:
    empty = dict.fromkeys(("id", "created_at", "updated_at", "last_accessed_at", "metadata"))
    return {"name": name, **empty}


def _columns(stored: StoredObject) -> dict[str, Any]:
    return {name: getattr(stored, name) for name in StoredObject.__slots__}


def _stored(row: dict[str, Any]) -> StoredObject:
    return StoredObject(**{**row, "metadata": json.loads(row["metadata"])})


def _types(value: str | None) -> tuple[str, ...] | None:
    return None if value is None else tuple(json.loads(value))
