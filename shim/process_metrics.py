"""What only a live process knows, written down once a second: single calls, memory, pool, loop delay, spans.

The console reads it while the process runs, and afterwards. It is bounded, and nothing depends on it: decisions are
taken from the guard's file, and verdicts stand in the ledger.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import astuple, dataclass, replace
from pathlib import Path

from migration import Comparison, Decision, Side
from migration.guard import ProcessMemoryGauge
from migration.model import AtEnd, Notice, Operation, Role
from migration.store.shim_db import limit_size, shim_db
from migration.store.writer import Writer
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
        shadow_percent: of the calls that a shadow compares.
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


def add(database: sqlite3.Connection, samples: Sequence[Sample]) -> None:
    """Add samples within a transaction, and let the oldest make room."""
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


def _span_of(row: sqlite3.Row) -> RecentSpan:
    values = dict(row)
    del values["id"]
    texts = {"attributes": json.loads(values["attributes"]), "links": tuple(json.loads(values["links"]))}
    return RecentSpan(**{**values, **texts, "failed": bool(values["failed"])})


# Records the metrics of one process: an observer that costs a call microseconds, and a thread that writes.

ROUND_SECONDS = 1.0
"""Between two samples."""

WRITE_TIMEOUT_SECONDS = 1.0
"""How long a round waits for another process's lock on the file before its samples are lost."""

_logger = logging.getLogger(__name__)


class ProcessMetrics(Writer[Sample]):
    """Takes part as an observer; its thread begins with the first call, in a forked process likewise.

    Args:
        path: the file; made, with its folder, when something is first written (0600 in 0700).
        instance: the name of this instance.
        memory: this process's memory.
        pool: connections in use and at most; None before there is a pool.
        now: the clock, in seconds since the epoch.
    """

    def __init__(
        self,
        path: Path,
        *,
        instance: str,
        memory: ProcessMemoryGauge,
        pool: Callable[[], tuple[int, int] | None] = lambda: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._instance = instance
        self._memory = memory
        self._pool = pool
        self._now = now
        super().__init__(
            shim_db(path),
            name="process-metrics",
            gather_seconds=ROUND_SECONDS,
            write_timeout=WRITE_TIMEOUT_SECONDS,
            periodic=True,
        )

    def begin_in_child(self) -> None:
        """Begin with nothing: a fork carries neither the thread over nor what it has to write."""
        super().begin_in_child()
        self._counting = threading.Lock()
        self._lost = 0
        self._lost_in_work = 0
        self._failing = False
        self._loop_delay: float | None = None
        self._decisions: dict[str, Decision] = {}
        self._written: dict[str, ShareSample] = {}

    # As an observer

    def operation(self, operation: Operation) -> AbstractContextManager[None]:
        """Note a decision, and a run that answers a caller, when it has ended."""
        return AtEnd(self._ended, operation)

    def compared(self, comparison: Comparison) -> None:
        """Comparisons are the ledger's business."""

    def noticed(self, notice: Notice) -> None:
        """Messages for operators likewise."""

    def _ended(self, operation: Operation) -> None:
        """Note an operation whose outcome is known."""
        outcome = operation.outcome
        if outcome is None or operation.role is not Role.PRIMARY:
            return
        if operation.side is None:
            self._decisions[operation.call.migration] = operation.decision
            self.start()
            return
        size = operation.call.attributes.get("file.size", 0)
        self._keep(
            CallSample(
                at=self._now(),
                migration=operation.call.migration,
                side=operation.side,
                seconds=outcome.seconds,
                bytes=size if outcome.error is None and isinstance(size, int) else 0,
                error=outcome.error_type,
            ),
        )

    # From telemetry

    def keep_spans(self, spans: Iterable[RecentSpan]) -> None:
        """Note finished spans."""
        for span in spans:
            self._keep(span, start=False)

    def loop_delayed(self, seconds: float) -> None:
        """Note how late the background loop woke a sleeper."""
        with self._counting:
            self._loop_delay = max(seconds, self._loop_delay or 0.0)

    def _keep(self, sample: Sample, *, start: bool = True) -> None:
        if not self.put(sample, start=start):
            self._lose(1)

    def _lose(self, samples: int) -> None:
        with self._counting:
            self._lost += samples

    # In the thread

    def is_needed(self, items: Sequence[Sample]) -> bool:  # noqa: ARG002  # the hook's
        """The process is sampled in any case."""
        return True

    def write(self, database: sqlite3.Connection, items: Sequence[Sample]) -> None:
        """Add the samples, this process's own among them."""
        with self._counting:
            self._lost_in_work = self._lost
            delay, self._loop_delay = self._loop_delay, None
        add(database, [*items, *self._changed_shares(database), self._process(delay)])

    def written(self, items: Sequence[Sample]) -> None:  # noqa: ARG002  # the hook's
        """Go on with what was lost since."""
        self._failing = False
        self._lose(-self._lost_in_work)

    def failed(self, items: Sequence[Sample], error: Exception) -> Sequence[Sample]:
        """Count the samples as lost."""
        self._written.clear()
        self._lose(len(items))
        if not self._failing:
            _logger.warning("%s; calls are unaffected, the console lacks what is not written", error)
        self._failing = True
        return ()

    def _process(self, delay: float | None) -> ProcessSample:
        used, limit = self._pool() or (None, None)
        return ProcessSample(
            at=self._now(),
            process=f"{self._instance}:{os.getpid()}",
            memory=self._memory.used(),
            memory_limit=self._memory.limit(),
            pool_used=used,
            pool_limit=limit,
            loop_delay=delay,
            lost=self._lost_in_work,
        )

    def _changed_shares(self, database: sqlite3.Connection) -> list[ShareSample]:
        """The shares in force, where they are not those that this instance has written down last."""
        changed = []
        for migration, decision in list(self._decisions.items()):
            known = self._written.get(migration) or last_share(database, self._instance, migration)
            share = ShareSample(
                at=self._now(),
                instance=self._instance,
                migration=migration,
                percent=decision.probability * 100,
                shadow_percent=decision.shadow_probability * 100,
                source=decision.source,
            )
            if known is None or replace(known, at=share.at) != share:
                changed.append(share)
                known = share
            self._written[migration] = known
        return changed
