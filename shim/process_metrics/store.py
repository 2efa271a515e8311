"""Samples of processes, in the file that all processes of a machine share; every table is bounded."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from migration import Side
from migration.store.shim_db import limit_size, shim_db
from observability import RecentSpan


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSample:
    """One run of a side that answered a caller, or failed to.

    Attributes:
        at: when it ended.
        migration: its migration.
        side: which implementation ran.
        seconds: how long it took.
        bytes: size of its files; 0 if it failed.
        error: type of its failure; None after success.
    """

    at: float
    migration: str
    side: Side
    seconds: float
    bytes: int = 0
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSample:
    """A process at one moment.

    Attributes:
        at: the moment.
        process: instance and process id.
        memory: resident bytes.
        memory_limit: bytes that it may have.
        pool_used: connections in use; None before there is a pool.
        pool_limit: connections that the pool may hold; None before there is a pool.
        loop_delay: how late the background loop woke a sleeper, at worst since the last sample; None before it runs.
        lost: calls and spans since the last sample that were too many to be written down.
    """

    at: float
    process: str
    memory: int
    memory_limit: int
    pool_used: int | None = None
    pool_limit: int | None = None
    loop_delay: float | None = None
    lost: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareSample:
    """The shares that were in force for calls from a moment on.

    Attributes:
        at: the moment.
        instance: the instance that decided.
        migration: of which migration.
        percent: of the calls that the candidate serves.
        shadow_percent: of the calls that are also run on the other side.
        source: who decided (`unleash`, `file`, `guard`, ...).
    """

    at: float
    instance: str
    migration: str
    percent: float
    shadow_percent: float
    source: str


KEEP_CALLS = 50_000
"""Calls that are kept one by one; the oldest go first."""

KEEP_SAMPLES = 20_000
"""Samples of processes: five and a half hours of one process."""

KEEP_SHARES = 5_000
"""Changes of shares."""

KEEP_SPANS = 5_000
"""Spans."""

_BOUNDS = {"calls": KEEP_CALLS, "processes": KEEP_SAMPLES, "shares": KEEP_SHARES, "spans": KEEP_SPANS}

_ADD = {
    CallSample: "INSERT INTO calls (at, migration, side, seconds, bytes, error) VALUES (?, ?, ?, ?, ?, ?)",
    ProcessSample: "INSERT INTO processes (at, process, memory, memory_limit, pool_used, pool_limit, loop_delay, lost)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    ShareSample: "INSERT INTO shares (at, instance, migration, percent, shadow_percent, source)"
    " VALUES (?, ?, ?, ?, ?, ?)",
    RecentSpan: "INSERT INTO spans (trace, span, parent, name, began, seconds, failed, attributes, links)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
}

Sample = CallSample | ProcessSample | ShareSample | RecentSpan


def write(path: Path, samples: Sequence[Sample]) -> None:
    """Add samples, and let the oldest make room.

    Raises:
        StoreError: the file cannot be written; nothing was added.
    """
    with shim_db(path).writing() as database:
        add(database, samples)


def add(database: sqlite3.Connection, samples: Sequence[Sample]) -> None:
    """Likewise, within a transaction."""
    limit_size(database)
    for kind, statement in _ADD.items():
        database.executemany(statement, [_row(each) for each in samples if isinstance(each, kind)])
    for table, kept in _BOUNDS.items():
        database.execute(f"DELETE FROM {table} WHERE id <= (SELECT max(id) FROM {table}) - ?", (kept,))  # noqa: S608  # our own names


def _row(sample: Sample) -> tuple[object, ...]:
    if not isinstance(sample, RecentSpan):
        return astuple(sample)
    return (
        sample.trace, sample.span, sample.parent, sample.name, sample.began, sample.seconds, sample.failed,
        json.dumps(dict(sample.attributes)), json.dumps(sample.links),
    )  # fmt: skip


MOST_SPANS = 200
"""Spans that are shown of one trace, with those of its shadows."""

_SHARES = """
SELECT at, instance, migration, percent, shadow_percent, source FROM shares
WHERE migration = :migration AND (at >= :since OR id IN (
  SELECT max(id) FROM shares WHERE migration = :migration AND at < :since GROUP BY instance))
ORDER BY id
"""

_LAST_SHARE = """
SELECT at, instance, migration, percent, shadow_percent, source FROM shares
WHERE instance = ? AND migration = ? ORDER BY id DESC LIMIT 1
"""

# Each root span that nothing is linked from, newest first: the shadow of a call is shown with the call.
_ROOTS = "SELECT * FROM spans WHERE parent IS NULL AND links = '[]' ORDER BY id DESC LIMIT ?"
_LINKED = "SELECT * FROM spans WHERE parent IS NULL AND links != '[]' ORDER BY id DESC LIMIT ?"


class ProcessMetricsReader:
    """Reads the process metrics; a file that does not exist yet is an empty one. Every method raises `StoreError`."""

    def __init__(self, path: Path) -> None:
        self._database = shim_db(path)

    def calls(self, migration: str, *, since: float) -> list[CallSample]:
        """The calls of a migration that ended since then, oldest first."""
        rows = self._database.rows(
            "SELECT at, migration, side, seconds, bytes, error FROM calls WHERE migration = ? AND at >= ? ORDER BY at",
            (migration, since),
        )
        return [CallSample(**{**row, "side": Side(row["side"])}) for row in rows]

    def processes(self, *, since: float) -> list[ProcessSample]:
        """The samples of all processes since then, oldest first."""
        rows = self._database.rows(
            "SELECT at, process, memory, memory_limit, pool_used, pool_limit, loop_delay, lost FROM processes"
            " WHERE at >= ? ORDER BY at",
            (since,),
        )
        return [ProcessSample(**row) for row in rows]

    def shares(self, migration: str, *, since: float) -> list[ShareSample]:
        """The changes since then, oldest first, and before them the last one of each instance before that time."""
        return [ShareSample(**row) for row in self._database.rows(_SHARES, {"migration": migration, "since": since})]

    def roots(self, *, limit: int) -> list[RecentSpan]:
        """The latest traces of calls, newest first, each as its first span."""
        return self._spans(_ROOTS, limit)

    def shadows(self, *, limit: int) -> list[RecentSpan]:
        """The latest traces that are linked to another one, newest first, each as its first span."""
        return self._spans(_LINKED, limit)

    def trace(self, trace: str) -> list[RecentSpan]:
        """The spans of a trace, in the order in which they began."""
        return sorted(
            self._spans("SELECT * FROM spans WHERE trace = ? LIMIT ?", trace, MOST_SPANS),
            key=lambda span: (span.began, span.parent is not None),
        )

    def shadows_of(self, trace: str) -> list[RecentSpan]:
        """The spans of the traces that are linked to this one."""
        linked = self._spans("SELECT * FROM spans WHERE links LIKE ? LIMIT ?", f'%"{trace}"%', MOST_SPANS)
        return [span for root in {span.trace: span for span in linked}.values() for span in self.trace(root.trace)]

    def _spans(self, question: str, *values: object) -> list[RecentSpan]:
        return [_span_of(row) for row in self._database.rows(question, values)]


def last_share(database: sqlite3.Connection, instance: str, migration: str) -> ShareSample | None:
    """What an instance has written down last."""
    row = database.execute(_LAST_SHARE, (instance, migration)).fetchone()
    return None if row is None else ShareSample(**row)


def _span_of(row: Any) -> RecentSpan:
    return RecentSpan(
        trace=row["trace"],
        span=row["span"],
        parent=row["parent"],
        name=row["name"],
        began=row["began"],
        seconds=row["seconds"],
        failed=bool(row["failed"]),
        attributes=json.loads(row["attributes"]),
        links=tuple(json.loads(row["links"])),
    )
