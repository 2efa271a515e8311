"""How records of the ledger are written, and how much it keeps: the newest rows, for a while, of bounded size."""

from __future__ import annotations

import sqlite3

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
INSERT INTO comparisons (at, migration, function, call_id, mode, verdict, differences, noisy, noise, masked,
  unused_masks, detail, attributes, flag_version, primary_side, primary_seconds, shadow_seconds, primary_trace,
  shadow_trace, characters)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
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

KEEP_ROWS = 10_000
"""Comparisons that are kept, and notices likewise; the oldest go first."""

KEEP_CALLERS = 2_000
"""Call sites that are kept; those that were not seen for the longest time go first."""

KEEP_DAYS = 30.0
"""Days after which they go in any case, unless the ledger is told otherwise."""

KEEP_BYTES = 64 * 1024 * 1024
"""The most that comparisons take, in bytes. The oldest go when three quarters are used."""

PRUNE_EVERY = 200
"""Records that a process writes between two clearances: one costs as much as writing a few rows."""

_SECONDS_A_DAY = 86_400.0
_OLDEST_SHARE = 8
_DELETE_OLDEST = "DELETE FROM comparisons WHERE id <= (SELECT min(id) + (max(id) - min(id)) / ? FROM comparisons)"
_ROW_CHARACTERS = 2_000  # of a comparison besides its values: names, a detail, what the declaration shows of the call


def prune(database: sqlite3.Connection, *, now: float, days: float) -> None:
    """Delete what is too old or too much; `now` is in seconds since the epoch."""
    oldest = now - days * _SECONDS_A_DAY
    for table in ("comparisons", "notices"):
        database.execute(f"DELETE FROM {table} WHERE at < ?", (oldest,))  # noqa: S608  # one of our own names
        database.execute(f"DELETE FROM {table} WHERE id <= (SELECT max(id) FROM {table}) - ?", (KEEP_ROWS,))  # noqa: S608  # likewise
    database.execute("DELETE FROM losses WHERE last_at < ?", (oldest,))
    database.execute("DELETE FROM callers WHERE last_at < ?", (oldest,))
    database.execute(
        "DELETE FROM callers WHERE rowid NOT IN (SELECT rowid FROM callers ORDER BY last_at DESC LIMIT ?)",
        (KEEP_CALLERS,),
    )
    while _characters(database) > KEEP_BYTES * 3 // 4:
        database.execute(_DELETE_OLDEST, (_OLDEST_SHARE,))


def _characters(database: sqlite3.Connection) -> int:
    """How much the comparisons take; the index by time has it, so no row is read."""
    values, rows = database.execute("SELECT coalesce(sum(characters), 0), count(*) FROM comparisons").fetchone()
    return int(values + rows * _ROW_CHARACTERS)
