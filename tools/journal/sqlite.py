"""The journal of one machine: an SQLite file in `SHIM_HOME` that all its processes share."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import TypeVar

from shim.sqlite import ProcessLock, process_lock
from tools.journal import sqlite_tables as tables
from tools.journal.port import CLAIMING, NOTHING_NEW, Entry, Facts, Intent, JournalError, Opening, Standing, State
from tools.journal.sqlite_writer import JournalFullError, JournalWriter

T = TypeVar("T")

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

    def standing(self) -> Standing:
        """See `Journal.standing`."""
        backend = f"SQLite, {self.path}"
        if not self._writer.database.exists():
            self._check_place()
            return Standing(backend=backend, under_way=0, left=0, unknown=0, unjournaled=0)
        entries, (unjournaled, last) = self._answer(
            lambda database: (tables.unfinished(database), tables.unjournaled(database))
        )
        owners = {entry.owner for entry in entries if entry.state in CLAIMING and entry.owner is not None}
        alive = {owner for owner in owners if self._owner().is_alive(owner)}
        under_way = sum(entry.state in CLAIMING and entry.owner in alive for entry in entries)
        unknown = sum(entry.state is State.UNKNOWN for entry in entries)
        return Standing(
            backend=backend,
            under_way=under_way,
            left=len(entries) - under_way - unknown,
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
