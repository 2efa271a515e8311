"""One piece of work for the journal's file, and how whoever waits for it learns what came of it."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from tools.journal.errors import JournalError

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
