"""Writes records in a thread of its own, from a bounded queue: recording costs a caller microseconds."""

from __future__ import annotations

import atexit
import logging
import os
import queue
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from migration.model.errors import LedgerError
from migration.store.ledger_tables import (
    COUNT_LOSSES,
    COUNT_RUN,
    LOCKED_SECONDS,
    PRUNE_EVERY,
    REMEMBER_DECISION,
    limit_size,
    make_tables,
    prune,
    unusable,
)
from migration.store.sqlite import create_private, unforked

Write = tuple[str, tuple[Any, ...]]
"""A statement and its values."""

_LARGEST = 2**53
"""Beyond this a sum is left to SQLite: what it cannot hold is to be lost alone, and not with what it was added to."""


def folded(writes: Iterable[Write]) -> list[Write]:
    """The same in fewer statements: counts of runs are added up, and of decisions only a migration's last is kept."""
    decisions: dict[str, Write] = {}
    runs: dict[tuple[Any, ...], Write] = {}
    others: list[Write] = []
    for write in writes:
        statement, values = write
        if statement is REMEMBER_DECISION:
            decisions[values[0]] = write
        elif statement is COUNT_RUN and _is_small(write):
            known = runs.get(values[:4])
            runs[values[:4]] = write if known is None else (COUNT_RUN, _sum(known[1], values))
        else:
            others.append(write)
    return [*decisions.values(), *runs.values(), *others]


def _is_small(write: Write) -> bool:
    *_, size, _at = write[1]
    return isinstance(size, int) and 0 <= size < _LARGEST


def _sum(one: tuple[Any, ...], other: tuple[Any, ...]) -> tuple[Any, ...]:
    calls, seconds, size = (one[place] + other[place] for place in (4, 5, 6))
    return (*one[:4], calls, seconds, size, max(one[7], other[7]))


# Writes records in a thread of its own, from a bounded queue: recording costs a caller microseconds.

_logger = logging.getLogger("migration")

QUEUE_SIZE = 10_000
"""Records waiting to be written; further ones are lost and counted."""

GATHER_SECONDS = 0.25
"""How long records are gathered for one transaction: a busy process is woken four times a second, not at each call."""

_BATCH = 5000
"""Records of one transaction, before those that say the same are folded into one."""


class LedgerWriter:
    """Takes statements and executes them in the background; what it cannot write is counted as lost.

    Losses are written to the file as well, as soon as that is possible, so that other processes can see them.

    Args:
        path: the SQLite file; made, with its folder, when the first record is written (0600 in 0700).
        days: how long rows are kept.
        now: the clock, in seconds since the epoch.
    """

    def __init__(self, path: Path, *, days: float, now: Callable[[], float]) -> None:
        self._path = path
        self._days = days
        self._now = now
        self._reset()
        _writers.add(self)

    def _reset(self) -> None:
        """Begin with an empty queue; a fork does not carry the writing thread over."""
        self._queue: queue.SimpleQueue[Write | threading.Event] = queue.SimpleQueue()
        self._hurry = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._written_since_pruning = PRUNE_EVERY  # a process that writes little clears up once
        self._losses_written = 0
        self.lost = 0

    def put(self, statement: str, *values: Any) -> None:
        """Take a record; never waits."""
        if self._queue.qsize() < QUEUE_SIZE:
            self._queue.put((statement, values))
        else:
            self._lose(1)
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="migration-ledger", daemon=True)
                    self._thread.start()
                    atexit.register(self.flush)

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until everything taken so far is in the file or counted as lost, at most `timeout` seconds.

        Returns:
            Whether the thread came that far in time.
        """
        if self._thread is None:
            return True
        written = threading.Event()
        self._queue.put(written)
        self._hurry.set()
        return written.wait(timeout)

    def _lose(self, records: int) -> None:
        with self._lock:
            self.lost += records

    def _run(self) -> None:
        while True:
            batch = [self._queue.get()]
            self._hurry.wait(GATHER_SECONDS)
            while len(batch) < _BATCH and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            if self._queue.empty():
                self._hurry.clear()
            writes = [item for item in batch if not isinstance(item, threading.Event)]
            try:
                self._commit(writes)
            except (LedgerError, OSError) as error:
                if not self.lost:
                    _logger.warning("%s; records are lost until it can, calls are unaffected", error)
                self._lose(len(writes))
            for item in batch:
                if isinstance(item, threading.Event):
                    item.set()

    def _commit(self, writes: list[Write]) -> None:
        lost = self.lost
        if not writes and lost == self._losses_written:
            return
        self._make_file()
        records = folded(writes)
        self._written_since_pruning += len(records)
        due = self._written_since_pruning >= PRUNE_EVERY
        try:
            with unforked(), closing(sqlite3.connect(self._path, timeout=LOCKED_SECONDS)) as database, database:
                make_tables(database, self._path)
                limit_size(database)
                if lost > self._losses_written:
                    database.execute(COUNT_LOSSES, (lost - self._losses_written, self._now()))
                for statement, values in records:
                    self._store(database, statement, values)
                if due:
                    prune(database, now=self._now(), days=self._days)
        except sqlite3.Error as error:
            raise unusable(self._path, error) from error
        self._losses_written = lost
        if due:
            self._written_since_pruning = 0

    def _store(self, database: sqlite3.Connection, statement: str, values: tuple[Any, ...]) -> None:
        """Write one record; one that SQLite cannot take is lost alone."""
        try:
            database.execute(statement, [_storable(value) for value in values])
        except (sqlite3.ProgrammingError, sqlite3.InterfaceError, OverflowError) as error:
            _logger.warning("a record cannot be written to the ledger and is lost: %s", type(error).__name__)
            self._lose(1)

    def _make_file(self) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        create_private(self._path)


def _storable(value: Any) -> Any:
    """Text may hold half characters, as names of files in a foreign encoding do; SQLite wants whole ones."""
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value


_writers: weakref.WeakSet[LedgerWriter] = weakref.WeakSet()


def _reset_all() -> None:
    for writer in list(_writers):
        writer._reset()  # noqa: SLF001  # the module's own class


os.register_at_fork(after_in_child=_reset_all)
