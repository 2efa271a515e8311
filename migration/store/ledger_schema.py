"""The ledger's tables, and the version of them that a file has."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from migration.model.errors import LedgerError
from migration.store import sqlite as _sqlite

VERSION = 2
"""Of the tables below; raised with every change to them. A file says its own in `PRAGMA user_version`."""

LOCKED_SECONDS = 5.0
"""How long a connection waits for another process's lock on the file before its work is given up."""

_CREATE = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS runs (
  migration TEXT, side TEXT, role TEXT, result TEXT,
  calls INTEGER, seconds REAL, bytes INTEGER, last_at REAL,
  PRIMARY KEY (migration, side, role, result)
);
CREATE TABLE IF NOT EXISTS decisions (
  migration TEXT PRIMARY KEY, at REAL, serve TEXT, shadow INTEGER, probability REAL, shadow_probability REAL,
  reason TEXT, source TEXT, flag_version TEXT, error TEXT
);
CREATE TABLE IF NOT EXISTS comparisons (
  id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL, migration TEXT, function TEXT, unit TEXT, mode TEXT, verdict TEXT,
  differences TEXT, noisy TEXT, noise TEXT, masked TEXT, unused_masks TEXT, detail TEXT, attributes TEXT,
  flag_version TEXT, primary_side TEXT, primary_seconds REAL, shadow_seconds REAL, primary_trace TEXT, shadow_trace TEXT
);
CREATE INDEX IF NOT EXISTS comparisons_by_verdict ON comparisons (migration, verdict);
CREATE INDEX IF NOT EXISTS comparisons_by_time ON comparisons (at);
CREATE TABLE IF NOT EXISTS notices (
  id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL, kind TEXT, migration TEXT, text TEXT
);
CREATE INDEX IF NOT EXISTS notices_by_time ON notices (at);
CREATE TABLE IF NOT EXISTS callers (
  migration TEXT, function TEXT, file TEXT, line INTEGER, caller TEXT, entrance TEXT, first_at REAL, last_at REAL,
  PRIMARY KEY (migration, function, file, line, caller, entrance)
);
CREATE TABLE IF NOT EXISTS losses (id INTEGER PRIMARY KEY CHECK (id = 1), records INTEGER, last_at REAL);
PRAGMA user_version = {VERSION};
COMMIT;
"""

COUNT_RUN = """
INSERT INTO runs (migration, side, role, result, calls, seconds, bytes, last_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (migration, side, role, result) DO UPDATE SET
  calls = calls + excluded.calls, seconds = seconds + excluded.seconds, bytes = bytes + excluded.bytes,
  last_at = excluded.last_at
"""
REMEMBER_DECISION = """
INSERT INTO decisions
  (migration, at, serve, shadow, probability, shadow_probability, reason, source, flag_version, error)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (migration) DO UPDATE SET at = excluded.at, serve = excluded.serve, shadow = excluded.shadow,
  probability = excluded.probability, shadow_probability = excluded.shadow_probability, reason = excluded.reason,
  source = excluded.source, flag_version = excluded.flag_version, error = excluded.error
"""
ADD_COMPARISON = """
INSERT INTO comparisons (at, migration, function, unit, mode, verdict, differences, noisy, noise, masked, unused_masks,
  detail, attributes, flag_version, primary_side, primary_seconds, shadow_seconds, primary_trace, shadow_trace)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
ADD_NOTICE = "INSERT INTO notices (at, kind, migration, text) VALUES (?, ?, ?, ?)"
REMEMBER_CALLER = """
INSERT INTO callers (migration, function, file, line, caller, entrance, first_at, last_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (migration, function, file, line, caller, entrance) DO UPDATE SET last_at = excluded.last_at
"""
COUNT_LOSSES = """
INSERT INTO losses (id, records, last_at) VALUES (1, ?, ?)
ON CONFLICT (id) DO UPDATE SET records = records + excluded.records, last_at = excluded.last_at
"""


def make_tables(database: sqlite3.Connection, path: Path) -> None:
    """Make the tables in a file that has none. Several processes may do so at once.

    Raises:
        LedgerError: its tables are those of another version.
        sqlite3.Error: the file cannot be used.
    """
    if not has_tables(database, path):
        _sqlite.use_write_ahead_log(database, seconds=LOCKED_SECONDS)
        database.executescript(_CREATE)


def has_tables(database: sqlite3.Connection, path: Path) -> bool:
    """Whether the file has its tables; without them, the first process to write is still making them.

    Raises:
        LedgerError: its tables are those of another version.
        sqlite3.Error: the file cannot be used.
    """
    return _sqlite.has_tables(database, path, version=VERSION, error=LedgerError)


def unusable(path: Path, error: sqlite3.Error) -> LedgerError:
    """The error that says what SQLite said, and what to do about it where that is known."""
    return LedgerError(path, _sqlite.problem_of(error))
