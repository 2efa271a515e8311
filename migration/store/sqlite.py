"""What the core's SQLite files have in common: a version of their tables, and what to say when one cannot be used."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import suppress
from pathlib import Path
from typing import Protocol

_SWITCH_PAUSE_SECONDS = 0.02
_PRIVATE_FILE = 0o600


class _FileError(Protocol):
    """A class of errors that name a file and say what is wrong with it."""

    def __call__(self, path: object, problem: str) -> Exception: ...


def has_tables(database: sqlite3.Connection, path: Path, *, version: int, error: _FileError) -> bool:
    """Whether the file has its tables; without them, the first process to write is still making them.

    Raises:
        Exception: what `error` makes, where the tables are those of another version.
        sqlite3.Error: the file cannot be used.
    """
    # in this order: tables and version appear in one transaction, which may come between the two questions
    made = database.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table'").fetchone()[0] > 0
    [found] = database.execute("PRAGMA user_version").fetchone()
    if found == version:
        return True
    if made or found:
        raise error(
            path, f"its tables have version {found} and this program's have {version}; move it away, a new one is made"
        )
    return False


def problem_of(error: sqlite3.Error) -> str:
    """What SQLite said, and what to do about it where that is known."""
    damaged = type(error) is sqlite3.DatabaseError  # the other kinds are subclasses: locked, full, no permission, ...
    return f"{error}; move it away, a new one is made" if damaged else str(error)


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
