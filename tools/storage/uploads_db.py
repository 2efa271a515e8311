"""The file of uploads, `uploads.db`: the journal of uploads, and the rows of the embedded storage."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from shim.sqlite import Database, copy_rows, execute_all

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
