"""How much the ledger keeps: the newest rows, for a while, in a file of bounded size."""

from __future__ import annotations

import sqlite3

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
