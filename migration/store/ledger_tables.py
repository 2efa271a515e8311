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


# How much the ledger keeps: the newest rows, for a while, in a file of bounded size.

KEEP_ROWS = 10_000
"""Comparisons that are kept, and notices likewise; the oldest go first."""

KEEP_CALLERS = 2_000
"""Call sites that are kept; those that were not seen for the longest time go first."""

KEEP_DAYS = 30.0
"""Days after which they go in any case, unless the ledger is told otherwise."""

KEEP_BYTES = 64 * 1024 * 1024
"""The largest file, in bytes. The oldest rows go when three quarters are used; what does not fit is lost."""

PRUNE_EVERY = 200
"""Records that a process writes between two clearances: one costs as much as writing a few rows."""

_SECONDS_A_DAY = 86_400.0
_OLDEST_SHARE = 8
_TABLES = ("comparisons", "notices")


def limit_size(database: sqlite3.Connection) -> None:
    """Let this connection make the file no larger than `KEEP_BYTES`."""
    [page] = database.execute("PRAGMA page_size").fetchone()
    database.execute(f"PRAGMA max_page_count = {KEEP_BYTES // page}")


def prune(database: sqlite3.Connection, *, now: float, days: float) -> None:
    """Delete what is too old or too much; `now` is in seconds since the epoch."""
    oldest = now - days * _SECONDS_A_DAY
    for table in _TABLES:
        database.execute(f"DELETE FROM {table} WHERE at < ?", (oldest,))  # noqa: S608  # one of our own names
        _delete_older(database, table, f"(SELECT max(id) FROM {table}) - {KEEP_ROWS}")  # noqa: S608  # likewise
    database.execute("DELETE FROM losses WHERE last_at < ?", (oldest,))
    database.execute("DELETE FROM callers WHERE last_at < ?", (oldest,))
    database.execute(
        "DELETE FROM callers WHERE rowid NOT IN (SELECT rowid FROM callers ORDER BY last_at DESC LIMIT ?)",
        (KEEP_CALLERS,),
    )
    while _used_bytes(database) > KEEP_BYTES * 3 // 4:
        deleted = sum(
            _delete_older(
                database,
                table,
                f"(SELECT min(id) + (max(id) - min(id)) / {_OLDEST_SHARE} FROM {table})",  # noqa: S608  # likewise
            )
            for table in _TABLES
        )
        if not deleted:
            return


def _delete_older(database: sqlite3.Connection, table: str, last: str) -> int:
    return database.execute(f"DELETE FROM {table} WHERE id <= {last}").rowcount  # noqa: S608  # our own names


def _used_bytes(database: sqlite3.Connection) -> int:
    pages, free, size = (
        database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)
