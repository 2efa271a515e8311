"""Works on one SQLite file in a thread of its own, many pieces of work in one transaction (group commit).

A caller pays for handing its work over, and whoever waits for it shares one write to the disk with all who wait. The
event loop never waits. What nobody waits for is gathered for a moment, and tried again when the file cannot be used.
"""

from __future__ import annotations

import atexit
import logging
import os
import sqlite3
import threading
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any, Generic, TypeVar

from shim.process import make_private_folder
from shim.sqlite import create_private
from tools.journal.port import JournalError

T = TypeVar("T")
_logger = logging.getLogger(__name__)

Work = Callable[[sqlite3.Connection], T]

_BAD_WORK = (sqlite3.ProgrammingError, sqlite3.InterfaceError, sqlite3.IntegrityError, ValueError, OverflowError)
"""What one piece of work may raise by its own fault; the others of its transaction are unaffected."""


class Piece(Generic[T]):
    """One piece of work; nobody waits for it where `future` is None."""

    __slots__ = ("_outcome", "future", "makes_file", "work")

    def __init__(self, work: Work[T], future: Future[T] | None, *, makes_file: bool = True) -> None:
        self.work = work
        self.future = future
        self.makes_file = makes_file
        self._outcome: T | Exception | None = None

    @property
    def is_wanted(self) -> bool:
        """Whether it is still to be done; from then on it cannot be cancelled."""
        return self.future is None or self.future.set_running_or_notify_cancel()

    def do(self, database: sqlite3.Connection) -> None:
        """Do it within the open transaction; what it raises by its own fault is kept for `tell`."""
        try:
            self._outcome = self.work(database)
        except _BAD_WORK as error:
            self._outcome = JournalError("one entry of it", type(error).__name__)
            if self.future is None:
                _logger.warning("a note cannot be written to the journal of uploads: %s", type(error).__name__)

    def tell(self) -> None:
        """Give the result to whoever waits; called once the transaction is committed."""
        if self.future is None:
            return
        if isinstance(self._outcome, Exception):
            self.future.set_exception(self._outcome)
        else:
            self.future.set_result(self._outcome)  # type: ignore[arg-type]  # T may include None


# Works on one SQLite file in a thread of its own, many pieces of work in one transaction (group commit).

MAX_WAITING = 10_000
"""Pieces of work that wait at most. Beyond that, who waits is told so, and what nobody waits for is lost."""

LOCKED_SECONDS = 2.0
"""How long a transaction waits for another process's lock on the file before it is given up."""

GATHER_SECONDS = 0.01
"""How long work that nobody waits for is gathered into one transaction."""

RETRY_SECONDS = 1.0
"""How long until work that nobody waits for, and that could not be written, is tried again."""

IDLE_SECONDS = 5.0
"""After how long without work the thread ends and the file is closed."""

EXIT_SECONDS = 2.0
"""How long the end of the process waits for what is to be written."""

_FORK_SECONDS = 3.0
"""How long a fork waits for a transaction to end. A connection that is open while forking would spoil the file."""


class Writer:
    """The thread, its queue, and its connection.

    Args:
        path: the SQLite file; made, with its folder, by the first piece of work (0600 in 0700).
        prepare: makes a new connection ready, and the file's tables if there are none.
    """

    def __init__(self, path: Path, prepare: Callable[[sqlite3.Connection], None]) -> None:
        self._path = path
        self._prepare = prepare
        self._begin_anew()
        _writers.add(self)

    def _begin_anew(self) -> None:
        """A fork carries neither the thread over nor its work, which stays the parent's."""
        self._arrival = threading.Condition()
        self._waiting: deque[Piece[Any]] = deque()
        self._awaited = 0  # how many of these somebody waits for
        self._thread: threading.Thread | None = None
        self._in_use = threading.Lock()  # held while the connection is used
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None  # which one the connection has open
        self._failing = False
        self._warned = False

    def ask(self, work: Work[T]) -> Future[T]:
        """Have this done and made durable; never blocks. The future fails with `JournalError` if it cannot be.

        A future that is cancelled in time means that it is not done.
        """
        future: Future[T] = Future()
        if not self._put(Piece(work, future)):
            future.set_exception(JournalError(str(self._path), "too much waits to be written"))
        return future

    def tell(self, work: Work[object], *, makes_file: bool = False) -> None:
        """Have this done soon, after all that was asked for before; never blocks, never raises.

        Where the file was removed, what it was about is gone with it, so it is not made anew unless `makes_file`.
        """
        if not self._put(Piece(work, None, makes_file=makes_file)):
            self._warn("too much waits to be written")

    def flush(self, timeout: float) -> bool:
        """Wait until all that was asked for so far was written, at most `timeout` seconds; was it?"""
        if self._thread is None and not self._waiting:
            return True
        written: Future[None] = Future()
        if not self._put(Piece(lambda _: None, written, makes_file=False)):
            return False
        try:
            written.result(timeout)
        except (JournalError, TimeoutError):
            return False
        return True

    def disconnect(self) -> None:
        """Close the file, once what is being written is; the next piece of work opens it again. Blocks."""
        with self._in_use:
            self._disconnect()

    def _put(self, piece: Piece[Any]) -> bool:
        with self._arrival:
            if len(self._waiting) >= MAX_WAITING:
                return False
            news = not self._waiting or (piece.future is not None and not self._awaited)
            self._waiting.append(piece)
            self._awaited += piece.future is not None
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="upload-journal", daemon=True)
                self._thread.start()
            elif news:
                self._arrival.notify()
            return True

    def _run(self) -> None:
        while batch := self._next_batch():
            wanted = [piece for piece in batch if piece.is_wanted]
            try:
                with self._in_use:
                    self._commit(wanted)
            except Exception as error:  # noqa: BLE001  # whatever it is, those who wait must hear of it
                self._failed(wanted, error)
            else:
                self._failing = False
                for piece in wanted:
                    piece.tell()

    def _next_batch(self) -> list[Piece[Any]]:
        """All that waits, as soon as somebody waits for it or it was gathered for long enough; nothing: the end."""
        while True:
            with self._arrival:
                if self._arrival.wait_for(lambda: self._waiting, IDLE_SECONDS):
                    self._arrival.wait_for(lambda: self._awaited, RETRY_SECONDS if self._failing else GATHER_SECONDS)
                    batch = list(self._waiting)
                    self._waiting.clear()
                    self._awaited = 0
                    return batch
            with self._in_use:
                self._disconnect()
            with self._arrival:
                if not self._waiting:
                    self._thread = None
                    return []

    def _commit(self, pieces: list[Piece[Any]]) -> None:
        """Do it all in one transaction, which reaches the disk if somebody waits for it, else the operating system."""
        if not any(piece.makes_file for piece in pieces) and not self._path.exists():
            return
        awaited = any(piece.future is not None for piece in pieces)
        database = self._connected()
        try:
            database.execute(f"PRAGMA synchronous = {'FULL' if awaited else 'NORMAL'}")
            database.execute("BEGIN IMMEDIATE")
            for piece in pieces:
                piece.do(database)
            database.execute("COMMIT")
        except BaseException:
            self._disconnect()  # which rolls back
            raise

    def _failed(self, pieces: list[Piece[Any]], error: Exception) -> None:
        """Say so to those who wait; what nobody waits for is tried again."""
        self._failing = True
        unusable = error if isinstance(error, JournalError) else JournalError(str(self._path), str(error))
        self._warn(str(unusable))
        for piece in pieces:
            if piece.future is not None:
                piece.future.set_exception(unusable)
        again = [piece for piece in pieces if piece.future is None]
        with self._arrival:
            while again and len(self._waiting) < MAX_WAITING:
                self._waiting.appendleft(again.pop())

    def _warn(self, problem: str) -> None:
        if not self._warned:
            self._warned = True
            _logger.warning("%s; uploads go on without it, and are counted; this is said once", problem)

    def _connected(self) -> sqlite3.Connection:
        """The connection, or another one if the file was removed or replaced."""
        if self._connection is not None and self._file == _identity(self._path):
            return self._connection
        self._disconnect()
        make_private_folder(self._path.parent)
        create_private(self._path)
        connection = sqlite3.connect(
            self._path,
            timeout=LOCKED_SECONDS,
            isolation_level=None,
            check_same_thread=False,  # a fork closes it in the thread that forks
        )
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        self._connection, self._file = connection, _identity(self._path)
        return connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def _before_fork(self) -> None:
        """Close the file: a child would inherit what SQLite believes to be locked, and spoil it."""
        if self._in_use.acquire(timeout=_FORK_SECONDS):
            self._disconnect()
            _forking.held.append(self._in_use)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


class _Forking(threading.local):
    """What the thread that forks holds meanwhile."""

    def __init__(self) -> None:
        self.held: list[threading.Lock] = []


_writers: weakref.WeakSet[Writer] = weakref.WeakSet()
_forking = _Forking()


def _before_fork() -> None:
    for writer in tuple(_writers):
        writer._before_fork()  # noqa: SLF001  # the module's own class


def _after_fork_in_parent() -> None:
    while _forking.held:
        _forking.held.pop().release()


def _after_fork_in_child() -> None:
    _forking.held.clear()
    for writer in tuple(_writers):
        writer._begin_anew()  # noqa: SLF001  # likewise


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


def _flush_all() -> None:
    for writer in tuple(_writers):
        writer.flush(EXIT_SECONDS)


atexit.register(_flush_all)
