"""The journal of one machine: an SQLite file in `SHIM_HOME` that all its processes share.

Callers that wait for their work share one write to the disk. What no caller waits for is gathered for a moment, and
tried again when the file cannot be used.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from shim.primitives import ProcessLock, StoreError, Writer, process_lock
from tools.journal import sqlite_tables as tables
from tools.journal.port import CLAIMING, NOTHING_NEW, Entry, Facts, Intent, JournalError, JournalStatus, Opening, State
from tools.storage.local import uploads_db

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
        """Have this done and made durable; in this thread, if the system has no other one for it.

        The future fails with `JournalError` if it cannot be. One that is cancelled in time means that it is not done.
        """
        future: Future[T] = Future()
        if not self.put(Piece(work, future), urgent=True):
            future.set_exception(JournalError(str(self.database.path), "too much waits to be written"))
        self.write_if_alone()
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


MAX_BYTES = 64 * 1024 * 1024
"""What uploads without a known outcome take at most. Beyond it, uploads go on without the journal."""

MEASURE_EVERY = 50
"""After how many begun uploads that is measured."""

OWNERS = "journal.owners"
"""The file of the process locks, beside the database. Earlier versions name it so: each sees that the other lives."""

FORGET_EVERY = 200
"""After how many closed uploads old finished ones are deleted."""

_ANSWER_SECONDS = 5.0
"""How long recovery and `shim status` wait for the file."""


class SqliteJournal:
    """Implements `Journal`.

    An owner is a living process: it holds a lock (`SHIM_HOME/journal.owners`), so no lease has to be renewed.

    Args:
        path: the file; made, with its folder, by the first upload (0600 in 0700).
        now: the clock, in seconds since the epoch.
    """

    def __init__(self, path: Path, *, now: Callable[[], float] = time.time) -> None:
        self.path = path
        self._now = now
        self._writer = JournalWriter(path)
        self._begun = 0
        self._closed = 0
        self._is_full = False

    @property
    def owner(self) -> str:
        """See `Journal.owner`.

        Raises:
            JournalError: the folder cannot be used.
        """
        return self._owner().name

    def open(self, intent: Intent, *, overlapping: float) -> Future[Opening]:
        """See `Journal.open`."""
        now = self._now()

        def work(database: sqlite3.Connection) -> Opening:
            owner = self._owner()
            return tables.open_intent(
                database,
                intent,
                owner=owner.name,
                is_alive=owner.is_alive,
                make_sure_of_room=self._make_sure_of_room,
                overlapping=overlapping,
                now=now,
            )

        return self._writer.ask(work)

    def note(self, upload_id: str, state: State, facts: Facts = NOTHING_NEW) -> None:
        """See `Journal.note`."""
        now = self._now()
        self._writer.tell(lambda database: tables.note(database, upload_id, state, facts, owner=self.owner, now=now))

    def close(self, upload_id: str, state: State, facts: Facts = NOTHING_NEW) -> None:
        """See `Journal.close`."""
        now = self._now()
        self._writer.tell(lambda database: self._close(database, upload_id, state, facts, now=now))

    def count_unjournaled(self) -> None:
        """See `Journal.count_unjournaled`."""
        self._writer.tell(partial(tables.count_unjournaled, now=self._now()), makes_file=True)

    def flush(self, timeout: float) -> bool:
        """See `Journal.flush`."""
        return self._writer.flush(timeout)

    def unfinished(self) -> Sequence[Entry]:
        """See `Journal.unfinished`."""
        return self._answer(tables.unfinished) if self._writer.database.exists() else []

    def namesakes(self, intent: Intent) -> Sequence[Entry]:
        """See `Journal.namesakes`."""
        return (
            self._answer(lambda database: tables.namesakes(database, intent)) if self._writer.database.exists() else []
        )

    def take_over(self, upload_id: str) -> Entry | None:
        """See `Journal.take_over`."""
        now = self._now()

        def work(database: sqlite3.Connection) -> Entry | None:
            owner = self._owner()
            return tables.take_over(database, upload_id, owner=owner.name, is_alive=owner.is_alive, now=now)

        return self._answer(work)

    def release(self, upload_id: str) -> None:
        """See `Journal.release`."""
        now = self._now()
        self._writer.tell(lambda database: tables.release(database, upload_id, owner=self.owner, now=now))

    def status(self) -> JournalStatus:
        """See `Journal.status`."""
        backend = f"SQLite, {self.path}"
        if not self._writer.database.exists():
            self._check_place()
            return JournalStatus(backend=backend, in_flight=0, left=0, unknown=0, unjournaled=0)
        entries, (unjournaled, last) = self._answer(
            lambda database: (tables.unfinished(database), tables.unjournaled(database))
        )
        owners = {entry.owner for entry in entries if entry.state in CLAIMING and entry.owner is not None}
        alive = {owner for owner in owners if self._owner().is_alive(owner)}
        in_flight = sum(entry.state in CLAIMING and entry.owner in alive for entry in entries)
        unknown = sum(entry.state is State.UNKNOWN for entry in entries)
        return JournalStatus(
            backend=backend,
            in_flight=in_flight,
            left=len(entries) - in_flight - unknown,
            unknown=unknown,
            unjournaled=unjournaled,
            last_unjournaled_at=last,
        )

    def stop(self) -> None:
        """See `Journal.stop`. The thread ends by itself when there is nothing to do for a while."""
        self._writer.disconnect()

    def _check_place(self) -> None:
        """Find out whether the file could be made where there is none."""
        folder = next(folder for folder in self.path.absolute().parents if folder.exists())
        if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
            raise JournalError(str(self.path), f"nothing can be made in {folder}")

    def _close(self, database: sqlite3.Connection, upload_id: str, state: State, facts: Facts, *, now: float) -> None:
        tables.close(database, upload_id, state, facts, owner=self.owner, now=now)
        self._closed += 1
        if self._closed % FORGET_EVERY == 0:
            tables.forget(database, now=now)

    def _make_sure_of_room(self, database: sqlite3.Connection) -> None:
        if self._is_full or self._begun % MEASURE_EVERY == 0:
            self._is_full = tables.unfinished_bytes(database) > MAX_BYTES
        self._begun += 1
        if self._is_full:
            raise JournalFullError(self.path)

    def _owner(self) -> ProcessLock:
        path = self.path.with_name(OWNERS)
        try:
            return process_lock(path)
        except OSError as error:
            raise JournalError(str(path), error.strerror or str(error)) from error

    def _answer(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return self._writer.ask(work).result(_ANSWER_SECONDS)
        except TimeoutError as error:
            raise JournalError(str(self.path), f"it did not answer within {_ANSWER_SECONDS:g} s") from error
