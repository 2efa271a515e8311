"""What the core's SQLite files have in common: a version of their tables, and what to say when one cannot be used.

A child would take its parent's locks in the file for its own.
Source: sqlite.org, How To Corrupt An SQLite Database File, section 2.6.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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


# Keeps a process from forking while it has a database open.

FORK_WAITS_SECONDS = 10.0
"""How long a fork waits for open databases; longer than any of them waits for another process."""


class _Barrier:
    """Lets any number of threads have something open, or one thread fork."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._open = 0

    @contextmanager
    def unforked(self) -> Iterator[None]:
        """Nobody forks during the block."""
        with self._changed:
            self._open += 1
        try:
            yield
        finally:
            with self._changed:
                self._open -= 1
                self._changed.notify_all()

    def close(self) -> None:
        """Wait until nothing is open, and let nothing be opened until `reopen`."""
        self._changed.acquire()
        self._changed.wait_for(lambda: not self._open, FORK_WAITS_SECONDS)

    def reopen(self) -> None:
        """Let databases be opened again."""
        self._changed.release()

    def reopen_in_child(self) -> None:
        """Likewise, where no other thread is left that could have anything open."""
        self._open = 0
        self._changed.release()


_barrier = _Barrier()
unforked = _barrier.unforked

os.register_at_fork(before=_barrier.close, after_in_parent=_barrier.reopen, after_in_child=_barrier.reopen_in_child)


# Tells whether the process that began something still lives.


class Owner:
    """One process, as others can tell whether it lives: it holds a lock on one byte of a file, which dies with it.

    The lock is of the kind that a process has (POSIX, `fcntl`): a child after a fork does not have it.
    """

    def __init__(self, path: Path) -> None:
        self.number = secrets.randbelow(2**40)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)  # never closed: that would give up every lock on it
        fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, self.number)

    def is_alive(self, number: int) -> bool:
        """Whether the process with this number lives."""
        if number == self.number:
            return True
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
        except OSError:
            return True
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, number)
        return False


_owners: dict[Path, Owner] = {}


def owner_of(path: Path) -> Owner:
    """This process, as it holds its lock in this file."""
    if path not in _owners:
        _owners.setdefault(path, Owner(path))
    return _owners[path]


os.register_at_fork(after_in_child=_owners.clear)
