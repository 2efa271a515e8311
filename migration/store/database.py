"""One SQLite file that all processes of a machine share: private, with a write-ahead log, upgraded step by step.

The process does not fork while a database is open: a child would take its parent's locks in the file for its own.
Source: sqlite.org, How To Corrupt An SQLite Database File, section 2.6.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from migration.forking import unforked
from migration.model.errors import StoreError, StoreRefusedError

WRITE_TIMEOUT_SECONDS = 5.0
"""How long an operation waits for another process's lock on the file before it is given up."""

WAL_BYTES = 4 * 1024 * 1024
"""What stays of the write-ahead log after it was copied into the file."""

FIRST_VERSION = 10
"""Of the first upgrade. Lower numbers are those of the single files that earlier versions of this program wrote."""

PRIVATE_FILE = 0o600
_PRIVATE_FOLDER = 0o700
_SWITCH_PAUSE_SECONDS = 0.02


Upgrade = Callable[[sqlite3.Connection, Path], None]
"""Brings the file at a path from one version to the next, within a transaction that the caller has begun."""


class Database:
    """The file. Every operation has a connection of its own, and the process does not fork meanwhile.

    Args:
        path: made, with its folder, when something is first written (0600 in 0700).
        upgrades: the steps from an empty file to the version of this program, in order. `PRAGMA user_version` says
            which of them a file has behind it. A step never changes once it is published.
        earlier: files whose rows a step takes over, seen from the same folder.
    """

    def __init__(self, path: Path, upgrades: Sequence[Upgrade], *, earlier: Sequence[str] = ()) -> None:
        self.path = path
        self.version = FIRST_VERSION + len(upgrades) - 1
        self._upgrades = upgrades
        self._earlier = [path.parent / name for name in earlier if name != path.name]

    def exists(self) -> bool:
        """Whether there is anything to read: the file itself, or one whose rows it takes over."""
        return any(path.exists() for path in (self.path, *self._earlier))

    @contextmanager
    def reading(self, write_timeout: float | None = None) -> Iterator[sqlite3.Connection | None]:
        """A connection; None where there is nothing to read, and then nothing is made.

        Args:
            write_timeout: seconds to wait for another process's lock; `WRITE_TIMEOUT_SECONDS` by default.

        Raises:
            StoreError: the file cannot be used.
        """
        with self.errors():
            if not self.exists():
                yield None
                return
            with unforked(), closing(self.connect(write_timeout)) as database:
                yield database

    def rows(self, question: str, values: Sequence[object] | Mapping[str, object] = ()) -> list[sqlite3.Row]:
        """The rows that answer a question; none where there is nothing to read. Raises as `reading`."""
        with self.reading() as database:
            return database.execute(question, values).fetchall() if database else []

    @contextmanager
    def writing(self, write_timeout: float | None = None) -> Iterator[sqlite3.Connection]:
        """A connection with a transaction, which reaches the disk at the end of the block; as `reading`."""
        with self.errors(), unforked(), closing(self.connect(write_timeout)) as database:
            database.execute("PRAGMA synchronous = FULL")
            database.execute("BEGIN IMMEDIATE")
            with database:
                yield database

    def connect(self, write_timeout: float | None = None) -> sqlite3.Connection:
        """Open the file in the version of this program. The caller keeps the process from forking, and closes it.

        Raises:
            StoreRefusedError: a newer program wrote the file, or what an earlier one wrote cannot be taken over yet.
            StoreError: the file cannot be used.
        """
        seconds = WRITE_TIMEOUT_SECONDS if write_timeout is None else write_timeout
        with self.errors():
            make_private_folder(self.path.parent)
            create_private(self.path)
            database = sqlite3.connect(
                self.path,
                timeout=seconds,
                isolation_level=None,
                check_same_thread=False,  # a fork closes a writer's connection in the thread that forks
            )
            try:
                database.row_factory = sqlite3.Row
                if _version(database) != self.version:
                    self._upgrade(database, seconds)
                database.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
            except BaseException:
                database.close()
                raise
            return database

    def is_current(self, database: sqlite3.Connection) -> bool:
        """Whether the open file still is in the version of this program."""
        with self.errors():
            return _version(database) == self.version

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Say what SQLite or the operating system says as a `StoreError`, with what to do where that is known."""
        try:
            yield
        except sqlite3.Error as error:
            damaged = type(error) is sqlite3.DatabaseError  # other kinds are subclasses: locked, full, no permission
            advice = "; move it away, a new one is made" if damaged else ""
            raise StoreError(self.path, f"{error}{advice}") from error
        except OSError as error:
            raise StoreError(self.path, error.strerror or str(error)) from error

    def _upgrade(self, database: sqlite3.Connection, seconds: float) -> None:
        try:
            self._check(database)
            _use_write_ahead_log(database, seconds=seconds)
            database.execute("BEGIN IMMEDIATE")
            with database:
                for version in range(max(self._check(database) + 1, FIRST_VERSION), self.version + 1):
                    self._upgrades[version - FIRST_VERSION](database, self.path)
                    database.execute(f"PRAGMA user_version = {version}")
        except (sqlite3.Error, OSError) as error:
            if type(error) is sqlite3.DatabaseError or not self._holds_state(database):
                raise
            problem = f"what an earlier version of this program kept cannot be taken over yet ({error})"
            raise StoreRefusedError(self.path, f"{problem}; make room, and let its owner write there") from error

    def _check(self, database: sqlite3.Connection) -> int:
        """The version of the file, if it can be brought to that of this program."""
        # in this order: tables and version appear in one transaction, which may come between the two questions
        made = database.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table'").fetchone()[0] > 0
        found = _version(database)
        if found > self.version:
            problem = f"a newer version of this program wrote it ({found}, this one knows {self.version})"
            raise StoreRefusedError(self.path, f"{problem}; update this program, and do not move the file")
        if found < FIRST_VERSION and (made or found):
            raise StoreError(self.path, f"its tables have version {found} and are not this program's; move it away")
        return found

    def _holds_state(self, database: sqlite3.Connection) -> bool:
        try:
            return _version(database) > 0 or any(path.exists() for path in self._earlier)
        except sqlite3.Error:
            return True


def _version(database: sqlite3.Connection) -> int:
    return int(database.execute("PRAGMA user_version").fetchone()[0])


def execute_all(database: sqlite3.Connection, script: str) -> None:
    """Execute statements that end with a semicolon each; `executescript` would end the transaction."""
    for statement in script.split(";"):
        database.execute(statement)


def _use_write_ahead_log(database: sqlite3.Connection, *, seconds: float) -> None:
    """Switch to write-ahead logging, waiting for others that do so too: SQLite does not wait here by itself."""
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
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, PRIVATE_FILE))


def make_private_folder(folder: Path) -> None:
    """Make a folder, and every one above it that is missing, for the owner alone, whatever the process's umask.

    `Path.mkdir` gives its mode to the last folder only: who may write to one above could put another in its place.

    Raises:
        OSError: it cannot be made.
    """
    for missing in reversed([each for each in (folder, *folder.parents) if not each.exists()]):
        missing.mkdir(mode=_PRIVATE_FOLDER, exist_ok=True)
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is no folder")


def file_identity(path: Path) -> tuple[int, int] | None:
    """Which file this is, so that one that was removed and made again is another; None while there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
