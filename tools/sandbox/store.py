"""Where the sandbox keeps its state: one SQLite database and one folder of bodies. It survives a restart."""

from __future__ import annotations

import hashlib
import sqlite3
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

Row = Mapping[str, Any]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS provider_files (
    number INTEGER PRIMARY KEY AUTOINCREMENT, service TEXT NOT NULL, id TEXT NOT NULL UNIQUE, filename TEXT NOT NULL,
    purpose TEXT NOT NULL, bytes INTEGER NOT NULL, sha256 TEXT NOT NULL, content_type TEXT NOT NULL,
    created_at REAL NOT NULL, parsed_at REAL NOT NULL, parsing_fails INTEGER NOT NULL, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS buckets (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, public INTEGER NOT NULL, file_size_limit INTEGER,
    allowed_mime_types TEXT, created_at TEXT NOT NULL, updated_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS objects (
    bucket TEXT NOT NULL, name TEXT NOT NULL, id TEXT NOT NULL, version TEXT NOT NULL, bytes INTEGER NOT NULL,
    sha256 TEXT NOT NULL, content_type TEXT NOT NULL, cache_control TEXT NOT NULL, metadata TEXT NOT NULL,
    created_at TEXT NOT NULL, updated_at TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (bucket, name));
CREATE TABLE IF NOT EXISTS resumable_uploads (
    id TEXT PRIMARY KEY, bucket TEXT NOT NULL, name TEXT NOT NULL, length INTEGER NOT NULL, received INTEGER NOT NULL,
    content_type TEXT NOT NULL, cache_control TEXT NOT NULL, metadata TEXT NOT NULL, upsert INTEGER NOT NULL,
    body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS provider_file_uploads (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    provider TEXT NOT NULL, provider_file_id TEXT NOT NULL, supabase_file_id TEXT, sha256 TEXT, filename TEXT,
    file_size_bytes INTEGER,
    upload_status TEXT NOT NULL DEFAULT 'pending' CONSTRAINT provider_file_uploads_upload_status_check
        CHECK (upload_status IN ('pending', 'completed', 'failed', 'deleted')),
    upload_method TEXT, error_message TEXT, last_used TEXT, created_at TEXT NOT NULL, updated_at TEXT NOT NULL,
    UNIQUE (provider, provider_file_id));
CREATE INDEX IF NOT EXISTS provider_file_uploads_sha256 ON provider_file_uploads (sha256);
CREATE TABLE IF NOT EXISTS upload_intents (
    upload_id TEXT NOT NULL PRIMARY KEY,
    provider TEXT NOT NULL, account TEXT NOT NULL, purpose TEXT NOT NULL, sha256 TEXT NOT NULL, filename TEXT NOT NULL,
    size INTEGER NOT NULL CONSTRAINT upload_intents_size_check CHECK (size >= 0), path TEXT NOT NULL,
    side TEXT NOT NULL CONSTRAINT upload_intents_side_check CHECK (side IN ('legacy', 'async')),
    state TEXT NOT NULL CONSTRAINT upload_intents_state_check CHECK (
        state IN ('intended', 'stored', 'sending', 'delivered', 'done', 'failed', 'unknown', 'abandoned')),
    owner TEXT, lease_until TEXT, supabase_file_id TEXT, provider_file_id TEXT, attempts INTEGER, error TEXT,
    began_at TEXT NOT NULL, updated_at TEXT NOT NULL, finished_at TEXT);
CREATE UNIQUE INDEX IF NOT EXISTS upload_intents_claim ON upload_intents (provider, account, purpose, sha256)
    WHERE state IN ('intended', 'stored', 'sending', 'delivered');
"""
_TABLES = (
    "provider_files",
    "buckets",
    "objects",
    "resumable_uploads",
    "provider_file_uploads",
    "upload_intents",
    "sqlite_sequence",
)
_TABLES_WITH_BODIES = ("provider_files", "objects", "resumable_uploads")


class Body:
    """A body on its way to disk, hashed as it comes. It is removed after the request unless a row came to own it."""

    def __init__(self, path: Path, *, resumed_at: int | None = None) -> None:
        self.name = path.name
        self.size = resumed_at or 0
        self.owned = resumed_at is not None
        self._path = path
        self._hash = hashlib.sha256()
        self._file: BinaryIO = path.open("xb" if resumed_at is None else "r+b", buffering=0)
        if resumed_at is not None:
            self._file.truncate(resumed_at)
            self._file.seek(resumed_at)

    @property
    def sha256(self) -> str:
        """Digest of what this object wrote."""
        return self._hash.hexdigest()

    def write(self, piece: bytes) -> None:
        """Append a piece."""
        self._hash.update(piece)
        self.size += len(piece)
        self._file.write(piece)

    def skip(self, piece: bytes) -> None:
        """Hash and count a piece without keeping it: the body is longer than allowed."""
        self._hash.update(piece)
        self.size += len(piece)

    def close(self) -> None:
        """Nothing more will come."""
        self._file.close()

    def discard(self) -> None:
        """Remove what was written."""
        self._file.close()
        self._path.unlink(missing_ok=True)


class SandboxStore:
    """The database and the bodies. Calls are short and made from the event loop."""

    def __init__(self, home: Path) -> None:
        self._bodies = home / "bodies"
        self._bodies.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(home / "sandbox.db", isolation_level=None)
        self._database.row_factory = sqlite3.Row
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.executescript(_SCHEMA)
        self._remove_ownerless_bodies()

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def rows(self, sql: str, parameters: Sequence[object] | Mapping[str, object] = ()) -> list[sqlite3.Row]:
        """Run a statement and return all its rows."""
        return self._database.execute(sql, parameters).fetchall()

    def row(self, sql: str, parameters: Sequence[object] | Mapping[str, object] = ()) -> sqlite3.Row | None:
        """Run a statement and return its first row."""
        found: sqlite3.Row | None = self._database.execute(sql, parameters).fetchone()
        return found

    def insert(self, table: str, values: Row) -> None:
        """Add a row; names of tables and columns come from this package, never from a request."""
        columns, places = ", ".join(values), ", ".join(f":{name}" for name in values)
        self._database.execute(f"INSERT INTO {table} ({columns}) VALUES ({places})", values)  # noqa: S608 - see docstring

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing."""
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    def new_body(self) -> Body:
        """Begin a body."""
        return Body(self._bodies / uuid.uuid4().hex)

    def resumed_body(self, name: str, size: int) -> Body:
        """Continue a body after its first `size` bytes."""
        return Body(self._bodies / name, resumed_at=size)

    def body_path(self, name: str) -> Path:
        """Where a body lies."""
        return self._bodies / name

    def remove_body(self, name: str) -> None:
        """Remove a body that no row owns any more."""
        self.body_path(name).unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove all rows and the bodies they own; bodies still arriving are left alone."""
        owned = self._owned_bodies()
        with self.transaction():
            for table in _TABLES:
                self._database.execute(f"DELETE FROM {table}")  # noqa: S608 - a constant name
        for name in owned:
            self.remove_body(name)

    def _owned_bodies(self) -> set[str]:
        selects = " UNION ALL ".join(f"SELECT body FROM {table}" for table in _TABLES_WITH_BODIES)  # noqa: S608 - constant names
        return {row["body"] for row in self.rows(selects)}

    def _remove_ownerless_bodies(self) -> None:
        owned = self._owned_bodies()
        for path in self._bodies.iterdir():
            if path.name not in owned:
                path.unlink()
