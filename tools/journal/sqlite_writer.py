"""Works on the journal's file: a caller that waits for its work shares one write to the disk with all who wait.

What no caller waits for is gathered for a moment, and tried again when the file cannot be used.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Generic, TypeVar

from shim.sqlite import StoreError, Writer
from tools.journal.port import JournalError
from tools.storage.uploads_db import uploads_db

T = TypeVar("T")
_logger = logging.getLogger(__name__)

Work = Callable[[sqlite3.Connection], T]

GATHER_SECONDS = 0.01
"""How long work that no caller waits for is gathered into one transaction."""

WRITE_TIMEOUT_SECONDS = 2.0
"""How long a transaction waits for another process's lock on the file before it is given up."""

_BAD_WORK = (sqlite3.ProgrammingError, sqlite3.InterfaceError, sqlite3.IntegrityError, ValueError, OverflowError)
"""What one piece of work may raise by its own fault; the others of its transaction are unaffected."""


class Piece(Generic[T]):
    """One piece of work; no caller waits for it where `future` is None."""

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
        except JournalFullError as error:
            self._outcome = error
        except _BAD_WORK as error:
            self._outcome = JournalError("one entry of it", type(error).__name__)
            if self.future is None:
                _logger.warning("a note cannot be written to the journal of uploads: %s", type(error).__name__)

    def tell(self) -> None:
        """Give the result to the caller that waits; called once the transaction is committed."""
        if self.future is None:
            return
        if isinstance(self._outcome, Exception):
            self.future.set_exception(self._outcome)
        else:
            self.future.set_result(self._outcome)  # type: ignore[arg-type]  # T may include None


class JournalFullError(JournalError):
    """The journal takes no further upload."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), "it is full of uploads of unknown outcome; `shim reconcile` resolves them")


class JournalWriter(Writer[Piece[Any]]):
    """Does pieces of work in their order, many of them in one transaction.

    Args:
        path: the SQLite file; made, with its folder, by the first piece of work (0600 in 0700).
    """

    def __init__(self, path: Path) -> None:
        super().__init__(
            uploads_db(path),
            name="upload-journal",
            gather_seconds=GATHER_SECONDS,
            write_timeout=WRITE_TIMEOUT_SECONDS,
        )

    def begin_in_child(self) -> None:
        """Begin with nothing to do."""
        super().begin_in_child()
        self._warned = False

    def ask(self, work: Work[T]) -> Future[T]:
        """Have this done and made durable; never blocks. The future fails with `JournalError` if it cannot be.

        A future that is cancelled in time means that it is not done.
        """
        future: Future[T] = Future()
        if not self.put(Piece(work, future), urgent=True):
            future.set_exception(JournalError(str(self.database.path), "too much waits to be written"))
        return future

    def tell(self, work: Work[object], *, makes_file: bool = False) -> None:
        """Have this done soon, after all that was asked for before; never blocks, never raises.

        Where the file was removed, what it was about is gone with it, so it is not made again unless `makes_file`.
        """
        if not self.put(Piece(work, None, makes_file=makes_file)):
            self._warn(JournalError(str(self.database.path), "too much waits to be written"))

    def wanted(self, items: Sequence[Piece[Any]]) -> Sequence[Piece[Any]]:
        """Those that were not cancelled."""
        return [piece for piece in items if piece.is_wanted]

    def is_needed(self, items: Sequence[Piece[Any]]) -> bool:
        """Notes alone make no file."""
        return any(piece.makes_file for piece in items) or (bool(items) and self.database.exists())

    def write(self, database: sqlite3.Connection, items: Sequence[Piece[Any]]) -> None:
        """Do it all."""
        for piece in items:
            piece.do(database)

    def written(self, items: Sequence[Piece[Any]]) -> None:
        """Give the results out."""
        for piece in items:
            piece.tell()

    def failed(self, items: Sequence[Piece[Any]], error: Exception) -> Sequence[Piece[Any]]:
        """Say so to the callers that wait; what no caller waits for is tried again."""
        if isinstance(error, JournalError):
            unusable = error
        else:
            problem = error.problem if isinstance(error, StoreError) else str(error)
            unusable = JournalError(str(self.database.path), problem)
        self._warn(unusable)
        for piece in items:
            if piece.future is not None:
                piece.future.set_exception(unusable)
        return [piece for piece in items if piece.future is None]

    def _warn(self, error: JournalError) -> None:
        if not self._warned:
            self._warned = True
            _logger.warning("%s; uploads go on without it, and are counted; this is said once", error)
