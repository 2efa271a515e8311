"""Writes the ledger's records: folded into few statements, cleared up now and then, lost where that cannot be."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from migration.store.shim_db import limit_size, shim_db
from migration.store.writer import Writer
from migration.threads import ThreadTrouble, process_id, thread_troubles

COUNT_RUN = """
INSERT INTO runs (migration, side, role, result, calls, seconds, bytes, last_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (migration, side, role, result) DO UPDATE SET
  calls = calls + excluded.calls, seconds = seconds + excluded.seconds, bytes = bytes + excluded.bytes,
  last_at = excluded.last_at
"""
REMEMBER_DECISION = """
INSERT INTO decisions
  (migration, at, serve, shadow, probability, shadow_probability, reason, source, flag_version, error)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (migration) DO UPDATE SET at = excluded.at, serve = excluded.serve, shadow = excluded.shadow,
  probability = excluded.probability, shadow_probability = excluded.shadow_probability, reason = excluded.reason,
  source = excluded.source, flag_version = excluded.flag_version, error = excluded.error
"""
ADD_COMPARISON = """
INSERT INTO comparisons (at, migration, function, call_id, mode, verdict, differences, noisy, noise, masked,
  unused_masks, detail, attributes, flag_version, primary_side, primary_seconds, shadow_seconds, primary_trace,
  shadow_trace, characters)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
ADD_NOTICE = "INSERT INTO notices (at, kind, migration, text) VALUES (?, ?, ?, ?)"
REMEMBER_CALLER = """
INSERT INTO callers (migration, function, file, line, caller, entrance, first_at, last_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (migration, function, file, line, caller, entrance) DO UPDATE SET last_at = excluded.last_at
"""
COUNT_LOSSES = """
INSERT INTO losses (id, records, last_at) VALUES (1, ?, ?)
ON CONFLICT (id) DO UPDATE SET records = records + excluded.records, last_at = excluded.last_at
"""
REMEMBER_THREAD = """
INSERT INTO threads (process, name, refused, died, problem, last_at) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (process, name) DO UPDATE SET
  refused = excluded.refused, died = excluded.died, problem = excluded.problem, last_at = excluded.last_at
"""

KEEP_ROWS = 10_000
"""Comparisons that are kept, and notices and troubles of threads likewise; the oldest go first."""

KEEP_CALLERS = 2_000
"""Call sites that are kept; those that were not seen for the longest time go first."""

KEEP_DAYS = 30.0
"""Days after which they go in any case, unless the ledger is told otherwise."""

KEEP_BYTES = 64 * 1024 * 1024
"""The most that comparisons take, in bytes. The oldest go when three quarters are used."""

MAX_PROBLEM = 200
"""Characters that are kept of what was wrong with a thread."""

PRUNE_EVERY = 200
"""Records that a process writes between two clearances: one costs as much as writing a few rows."""

_SECONDS_A_DAY = 86_400.0
_OLDEST_SHARE = 8
_DELETE_OLDEST = "DELETE FROM comparisons WHERE id <= (SELECT min(id) + (max(id) - min(id)) / ? FROM comparisons)"
_ROW_CHARACTERS = 2_000  # of a comparison besides its values: names, a detail, what the declaration shows of the call


def prune(database: sqlite3.Connection, *, now: float, days: float) -> None:
    """Delete what is too old or too much; `now` is in seconds since the epoch."""
    oldest = now - days * _SECONDS_A_DAY
    for table in ("comparisons", "notices"):
        database.execute(f"DELETE FROM {table} WHERE at < ?", (oldest,))  # noqa: S608  # one of our own names
        database.execute(f"DELETE FROM {table} WHERE id <= (SELECT max(id) FROM {table}) - ?", (KEEP_ROWS,))  # noqa: S608  # likewise
    database.execute("DELETE FROM losses WHERE last_at < ?", (oldest,))
    database.execute("DELETE FROM threads WHERE last_at < ?", (oldest,))
    database.execute(
        "DELETE FROM threads WHERE rowid NOT IN (SELECT rowid FROM threads ORDER BY last_at DESC LIMIT ?)", (KEEP_ROWS,)
    )
    database.execute("DELETE FROM callers WHERE last_at < ?", (oldest,))
    database.execute(
        "DELETE FROM callers WHERE rowid NOT IN (SELECT rowid FROM callers ORDER BY last_at DESC LIMIT ?)",
        (KEEP_CALLERS,),
    )
    while _characters(database) > KEEP_BYTES * 3 // 4:
        database.execute(_DELETE_OLDEST, (_OLDEST_SHARE,))


def _characters(database: sqlite3.Connection) -> int:
    """How much the comparisons take; the index by time has it, so no row is read."""
    values, rows = database.execute("SELECT coalesce(sum(characters), 0), count(*) FROM comparisons").fetchone()
    return int(values + rows * _ROW_CHARACTERS)


GATHER_SECONDS = 0.25
"""How long records are gathered for one transaction: a busy process is woken four times a second, not at each call."""

Write = tuple[str, tuple[Any, ...]]
"""A statement and its values."""

_LARGEST = 2**53
"""Beyond this a sum is left to SQLite: what it cannot hold is to be lost alone, and not with what it was added to."""

_logger = logging.getLogger("migration")


class LedgerWriter(Writer[Write]):
    """Takes statements and executes them in the background; what it cannot write is counted as lost.

    Losses, and what happened to the process's background threads, are written to the file as well, as soon as that is
    possible, so that other processes can see them.

    Args:
        path: the file; made, with its folder, when the first record is written (0600 in 0700).
        days: how long rows are kept.
        now: the clock, in seconds since the epoch.
    """

    def __init__(self, path: Path, *, days: float, now: Callable[[], float]) -> None:
        self._days = days
        self._now = now
        super().__init__(shim_db(path), name="migration-ledger", gather_seconds=GATHER_SECONDS)

    def begin_in_child(self) -> None:
        """Begin with nothing written and nothing lost."""
        super().begin_in_child()
        self.lost = 0
        self._counting = threading.Lock()
        self._losses_written = 0
        self._losses_in_work = 0
        self._threads_written: Mapping[str, ThreadTrouble] = {}
        self._threads_in_work: Mapping[str, ThreadTrouble] = {}
        self._unpruned = PRUNE_EVERY  # a process that writes little clears up once

    def record(self, statement: str, *values: Any) -> None:
        """Take a record; never waits."""
        if not self.put((statement, values)):
            self._lose(1)

    def is_needed(self, items: Sequence[Write]) -> bool:
        """Losses are written down, too, and what happened to threads."""
        return bool(items) or self.lost != self._losses_written or thread_troubles() != self._threads_written

    def write(self, database: sqlite3.Connection, items: Sequence[Write]) -> None:
        """Write the records; one that SQLite cannot take is lost alone."""
        limit_size(database)
        self._losses_in_work = self.lost
        if self._losses_in_work > self._losses_written:
            database.execute(COUNT_LOSSES, (self._losses_in_work - self._losses_written, self._now()))
        self._threads_in_work = thread_troubles()
        for name, trouble in self._threads_in_work.items():
            if trouble != self._threads_written.get(name):
                row = (process_id(), name, trouble.refused, trouble.died, trouble.problem[:MAX_PROBLEM], trouble.at)
                database.execute(REMEMBER_THREAD, row)
        records = folded(items)
        for statement, values in records:
            try:
                database.execute(statement, [_storable(value) for value in values])
            except (sqlite3.ProgrammingError, sqlite3.InterfaceError, OverflowError) as error:
                _logger.warning("a record cannot be written to the ledger and is lost: %s", type(error).__name__)
                self._lose(1)
        self._unpruned += len(records)
        if self._unpruned >= PRUNE_EVERY:
            prune(database, now=self._now(), days=self._days)

    def written(self, items: Sequence[Write]) -> None:  # noqa: ARG002  # the hook's
        """Remember what the file knows."""
        self._losses_written = self._losses_in_work
        self._threads_written = self._threads_in_work
        if self._unpruned >= PRUNE_EVERY:
            self._unpruned = 0

    def failed(self, items: Sequence[Write], error: Exception) -> Sequence[Write]:
        """Count the records as lost."""
        if not self.lost:
            _logger.warning("%s; records are lost until it can, calls are unaffected", error)
        self._lose(len(items))
        return ()

    def _lose(self, records: int) -> None:
        with self._counting:
            self.lost += records


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


def _storable(value: Any) -> Any:
    """Text may hold half characters, as names of files in a foreign encoding do; SQLite wants whole ones."""
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value
