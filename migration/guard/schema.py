"""The tables in which the guard keeps what must outlive a process, and the version of them that a file has."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from migration.model.errors import GuardStoreError
from migration.store import sqlite as _sqlite

VERSION = 1
"""Of the tables below; raised with every change to them. A file says its own in `PRAGMA user_version`."""

LOCKED_SECONDS = 5.0
"""How long an operation waits for another process's lock on the file before it is given up."""

_CREATE = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS standings (
  migration TEXT PRIMARY KEY, epoch INTEGER NOT NULL DEFAULT 0,
  latched_by INTEGER, frozen_by INTEGER, carried_out INTEGER NOT NULL DEFAULT 1
);
CREATE TABLE IF NOT EXISTS bad_calls (
  id INTEGER PRIMARY KEY AUTOINCREMENT, migration TEXT NOT NULL, epoch INTEGER NOT NULL, process TEXT NOT NULL,
  at REAL, signals TEXT, on_candidate INTEGER, probability REAL, kind TEXT, seconds REAL, trace TEXT, flag_version TEXT
);
CREATE INDEX IF NOT EXISTS bad_calls_by_epoch ON bad_calls (migration, epoch, id);
CREATE TABLE IF NOT EXISTS sums (
  migration TEXT PRIMARY KEY, epoch INTEGER NOT NULL, up_to INTEGER NOT NULL, state TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS records (
  id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, migration TEXT NOT NULL, action TEXT NOT NULL, rule TEXT,
  by TEXT NOT NULL, sentence TEXT NOT NULL, numbers TEXT NOT NULL, flag_before TEXT, flag_after TEXT,
  start TEXT, calls TEXT, carried_out_at REAL, problem TEXT
);
CREATE INDEX IF NOT EXISTS records_by_migration ON records (migration, id);
CREATE TABLE IF NOT EXISTS made (
  id INTEGER PRIMARY KEY AUTOINCREMENT, migration TEXT NOT NULL, at REAL NOT NULL, kind TEXT, things TEXT NOT NULL,
  trace TEXT, flag_version TEXT
);
CREATE INDEX IF NOT EXISTS made_by_time ON made (migration, at);
PRAGMA user_version = {VERSION};
COMMIT;
"""

ADD_BAD_CALL = """
INSERT INTO bad_calls
  (migration, epoch, process, at, signals, on_candidate, probability, kind, seconds, trace, flag_version)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
ADD_RECORD = """
INSERT INTO records
  (at, migration, action, rule, by, sentence, numbers, flag_before, flag_after, start, calls, carried_out_at, problem)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
ADD_MADE = "INSERT INTO made (migration, at, kind, things, trace, flag_version) VALUES (?, ?, ?, ?, ?, ?)"
HOLD = """
INSERT INTO standings (migration, latched_by, frozen_by, carried_out) VALUES (?, ?, ?, ?)
ON CONFLICT (migration) DO UPDATE SET
  latched_by = coalesce(latched_by, excluded.latched_by), frozen_by = coalesce(frozen_by, excluded.frozen_by),
  carried_out = min(carried_out, excluded.carried_out)
"""
RELEASE = """
INSERT INTO standings (migration, epoch) VALUES (:migration, max(1, :at))
ON CONFLICT (migration) DO UPDATE SET
  epoch = max(epoch + 1, :at), latched_by = NULL, frozen_by = NULL, carried_out = 1
"""
RESUMED_SINCE = """
SELECT coalesce((SELECT max(id) FROM records WHERE migration = :migration AND action = 'resume'), 0)
FROM standings WHERE migration = :migration AND epoch > :epoch
"""
SAME_DECISION = """
SELECT max(id) FROM records WHERE migration = :migration AND action = :action
  AND (action = 'rollback' OR rule IS :rule)
  AND id > coalesce((SELECT max(id) FROM records WHERE migration = :migration AND action = 'resume'), 0)
"""


def make_tables(database: sqlite3.Connection, path: Path) -> None:
    """Make the tables in a file that has none. Several processes may do so at once.

    Raises:
        GuardStoreError: its tables are those of another version.
        sqlite3.Error: the file cannot be used.
    """
    if not has_tables(database, path):
        _sqlite.use_write_ahead_log(database, seconds=LOCKED_SECONDS)
        database.executescript(_CREATE)


def has_tables(database: sqlite3.Connection, path: Path) -> bool:
    """Whether the file has its tables; without them, the first process to write is still making them.

    Raises:
        GuardStoreError: its tables are those of another version.
        sqlite3.Error: the file cannot be used.
    """
    return _sqlite.has_tables(database, path, version=VERSION, error=GuardStoreError)


def unusable(path: Path, error: sqlite3.Error) -> GuardStoreError:
    """The error that says what SQLite said, and what to do about it where that is known."""
    return GuardStoreError(path, _sqlite.problem_of(error))
