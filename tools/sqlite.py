"""What the monolith's SQLite files have in common."""

from __future__ import annotations

import sqlite3
import time

_SWITCH_PAUSE_SECONDS = 0.02


def use_write_ahead_log(database: sqlite3.Connection, *, seconds: float) -> None:
    """Switch to write-ahead logging, waiting for others that do so too: SQLite does not wait here by itself.

    Raises:
        sqlite3.OperationalError: others are not done within `seconds`.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            database.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_SWITCH_PAUSE_SECONDS)
        else:
            return
