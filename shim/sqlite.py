"""What the monolith's SQLite files have in common."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import suppress
from pathlib import Path

_SWITCH_PAUSE_SECONDS = 0.02
_PRIVATE_FILE = 0o600


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


def create_private(path: Path) -> None:
    """Make an empty file that only its owner can read, unless it is there; SQLite gives its side files the same mode.

    A file that is there is not opened: closing it would give up the locks that connections of this process hold on it
    (https://sqlite.org/howtocorrupt.html, section 2.2).

    Raises:
        OSError: the file cannot be made.
    """
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, _PRIVATE_FILE))
