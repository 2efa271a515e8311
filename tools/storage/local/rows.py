"""The table of uploads in SQLite."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path

from shim.sqlite import create_private, use_write_ahead_log
from tools.storage.port import ROW_KEY, TABLE, ProviderName, UploadRow

_COLUMNS = tuple(field.name for field in fields(UploadRow))
_KEPT_ON_CONFLICT = {*ROW_KEY, "id", "created_at"}
_BUSY_SECONDS = 30.0

_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS {TABLE} (
    id TEXT PRIMARY KEY,
    provider TEXT NOT NULL CHECK (provider IN ('kimi', 'glm')),
    provider_file_id TEXT NOT NULL,
    supabase_file_id TEXT,
    sha256 TEXT NOT NULL,
    filename TEXT NOT NULL,
    file_size_bytes INTEGER NOT NULL,
    upload_status TEXT NOT NULL CHECK (upload_status IN ('pending', 'completed', 'failed', 'deleted')),
    upload_method TEXT NOT NULL,
    error_message TEXT,
    last_used TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    UNIQUE ({", ".join(ROW_KEY)})
);
CREATE INDEX IF NOT EXISTS {TABLE}_sha256 ON {TABLE} (sha256);
"""

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
    """Rows in one database file. Every operation has its own connection, so threads and forks share nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, row: UploadRow) -> None:
        """Insert the row, or replace the one with the same key; its id and its time of creation stay."""
        now = datetime.now(UTC).isoformat()
        given = {"id": row.id or str(uuid.uuid4()), "created_at": row.created_at or now, "updated_at": now}
        with self._connected() as connection:
            connection.execute(_WRITE, asdict(row) | given)

    def find(self, *, sha256: str, provider: ProviderName) -> UploadRow | None:
        """The latest completed row of this content and provider."""
        with self._connected() as connection:
            found = connection.execute(_FIND, (sha256, provider)).fetchone()
        return None if found is None else UploadRow(**dict(zip(_COLUMNS, found, strict=True)))

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        create_private(self.path)
        with closing(sqlite3.connect(self.path, timeout=_BUSY_SECONDS)) as connection:
            use_write_ahead_log(connection, seconds=_BUSY_SECONDS)
            connection.executescript(_SCHEMA)
            with connection:
                yield connection
