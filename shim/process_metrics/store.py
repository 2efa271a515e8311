"""The file of the process metrics: one SQLite file that all processes of a machine share, bounded in every table."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import astuple
from pathlib import Path
from typing import Any

from migration import Side
from shim.process import make_private_folder
from shim.process_metrics.model import CallSample, ProcessMetricsError, ProcessSample, ShareSample, SpanSample
from shim.sqlite import create_private, use_write_ahead_log

VERSION = 1
"""Of the tables below; raised with every change to them. A file says its own in `PRAGMA user_version`."""

KEEP_CALLS = 50_000
"""Calls that are kept one by one; the oldest go first."""

KEEP_SAMPLES = 20_000
"""Samples of processes: five and a half hours of one process."""

KEEP_SHARES = 5_000
"""Changes of shares."""

KEEP_SPANS = 5_000
"""Spans."""

LOCKED_SECONDS = 1.0
"""How long an operation waits for another process's lock on the file before it is given up."""

_BOUNDS = {"calls": KEEP_CALLS, "processes": KEEP_SAMPLES, "shares": KEEP_SHARES, "spans": KEEP_SPANS}

_CREATE = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS calls (
  id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL, migration TEXT, side TEXT, seconds REAL, bytes INTEGER, error TEXT
);
CREATE INDEX IF NOT EXISTS calls_by_time ON calls (migration, at);
CREATE TABLE IF NOT EXISTS processes (
  id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL, process TEXT, memory INTEGER, memory_limit INTEGER,
  pool_used INTEGER, pool_limit INTEGER, loop_delay REAL, lost INTEGER
);
CREATE INDEX IF NOT EXISTS processes_by_time ON processes (at);
CREATE TABLE IF NOT EXISTS shares (
  id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL, instance TEXT, migration TEXT, percent REAL, shadow_percent REAL,
  source TEXT
);
CREATE TABLE IF NOT EXISTS spans (
  id INTEGER PRIMARY KEY AUTOINCREMENT, trace TEXT, span TEXT, parent TEXT, name TEXT, began REAL, seconds REAL,
  failed INTEGER, attributes TEXT, links TEXT
);
CREATE INDEX IF NOT EXISTS spans_by_trace ON spans (trace);
PRAGMA user_version = {VERSION};
COMMIT;
"""

_ADD = {
    CallSample: "INSERT INTO calls (at, migration, side, seconds, bytes, error) VALUES (?, ?, ?, ?, ?, ?)",
    ProcessSample: "INSERT INTO processes (at, process, memory, memory_limit, pool_used, pool_limit, loop_delay, lost)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    ShareSample: "INSERT INTO shares (at, instance, migration, percent, shadow_percent, source)"
    " VALUES (?, ?, ?, ?, ?, ?)",
    SpanSample: "INSERT INTO spans (trace, span, parent, name, began, seconds, failed, attributes, links)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
}

Sample = CallSample | ProcessSample | ShareSample | SpanSample


def write(path: Path, samples: Sequence[Sample]) -> None:
    """Add samples in one transaction, and let the oldest make room.

    Raises:
        ProcessMetricsError: the file cannot be written; nothing was added.
    """
    try:
        make_private_folder(path.parent)
        create_private(path)
    except OSError as error:
        raise ProcessMetricsError(path, error.strerror or type(error).__name__) from error
    with _connected(path) as database:
        if not _has_tables(database, path):
            use_write_ahead_log(database, seconds=LOCKED_SECONDS)
            database.executescript(_CREATE)
        database.execute("PRAGMA synchronous = NORMAL")  # the last second may be lost when the machine loses power
        with database:
            for kind, statement in _ADD.items():
                database.executemany(statement, [_row(each) for each in samples if isinstance(each, kind)])
            for table, kept in _BOUNDS.items():
                database.execute(f"DELETE FROM {table} WHERE id <= (SELECT max(id) FROM {table}) - ?", (kept,))  # noqa: S608  # our own names


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection | None]:
    """The file; None while there is none.

    Raises:
        ProcessMetricsError: it cannot be read.
    """
    if not path.exists() or path.stat().st_size == 0:
        yield None
        return
    with _connected(path) as database:
        yield database if _has_tables(database, path) else None


@contextmanager
def _connected(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        with closing(sqlite3.connect(path, timeout=LOCKED_SECONDS)) as database:
            database.row_factory = sqlite3.Row
            yield database
    except sqlite3.Error as error:
        raise ProcessMetricsError(path, str(error)) from error


def _has_tables(database: sqlite3.Connection, path: Path) -> bool:
    # in this order: tables and version appear in one transaction, which may come between the two questions
    made = database.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table'").fetchone()[0] > 0
    [version] = database.execute("PRAGMA user_version").fetchone()
    if version == VERSION:
        return True
    if made or version:
        raise ProcessMetricsError(path, f"its tables have version {version} and this program's have {VERSION}")
    return False


def _row(sample: Sample) -> tuple[object, ...]:
    if not isinstance(sample, SpanSample):
        return astuple(sample)
    return (
        sample.trace, sample.span, sample.parent, sample.name, sample.began, sample.seconds, sample.failed,
        json.dumps(dict(sample.attributes)), json.dumps(sample.links),
    )  # fmt: skip


# Questions to the process metrics.

MOST_SPANS = 200
"""Spans that are shown of one trace, with those of its shadows."""

_SHARES = """
SELECT at, instance, migration, percent, shadow_percent, source FROM shares
WHERE migration = :migration AND (at >= :since OR id IN (
  SELECT max(id) FROM shares WHERE migration = :migration AND at < :since GROUP BY instance))
ORDER BY id
"""

# Each root span that nothing is linked from, newest first: the shadow of a call is shown with the call.
_ROOTS = "SELECT * FROM spans WHERE parent IS NULL AND links = '[]' ORDER BY id DESC LIMIT ?"
_LINKED = "SELECT * FROM spans WHERE parent IS NULL AND links != '[]' ORDER BY id DESC LIMIT ?"


class ProcessMetricsReader:
    """Reads the process metrics; a file that does not exist yet is an empty one.

    Every method raises `ProcessMetricsError`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def calls(self, migration: str, *, since: float) -> list[CallSample]:
        """The calls of a migration that ended since then, oldest first."""
        with reading(self.path) as database:
            rows = (
                database.execute(
                    "SELECT at, migration, side, seconds, bytes, error FROM calls"
                    " WHERE migration = ? AND at >= ? ORDER BY at",
                    (migration, since),
                ).fetchall()
                if database
                else []
            )
        return [CallSample(**{**row, "side": Side(row["side"])}) for row in rows]

    def processes(self, *, since: float) -> list[ProcessSample]:
        """The samples of all processes since then, oldest first."""
        with reading(self.path) as database:
            rows = (
                database.execute(
                    "SELECT at, process, memory, memory_limit, pool_used, pool_limit, loop_delay, lost FROM processes"
                    " WHERE at >= ? ORDER BY at",
                    (since,),
                ).fetchall()
                if database
                else []
            )
        return [ProcessSample(**row) for row in rows]

    def shares(self, migration: str, *, since: float) -> list[ShareSample]:
        """The changes since then, oldest first, and before them the last one of each instance before that time."""
        with reading(self.path) as database:
            found = {"migration": migration, "since": since}
            rows = database.execute(_SHARES, found).fetchall() if database else []
        return [ShareSample(**row) for row in rows]

    def last_share(self, instance: str, migration: str) -> ShareSample | None:
        """What an instance has written down last."""
        with reading(self.path) as database:
            row = (
                database.execute(
                    "SELECT at, instance, migration, percent, shadow_percent, source FROM shares"
                    " WHERE instance = ? AND migration = ? ORDER BY id DESC LIMIT 1",
                    (instance, migration),
                ).fetchone()
                if database
                else None
            )
        return None if row is None else ShareSample(**row)

    def roots(self, *, limit: int) -> list[SpanSample]:
        """The latest traces of calls, newest first, each as its first span."""
        return self._spans(_ROOTS, limit)

    def shadows(self, *, limit: int) -> list[SpanSample]:
        """The latest traces that are linked to another one, newest first, each as its first span."""
        return self._spans(_LINKED, limit)

    def trace(self, trace: str) -> list[SpanSample]:
        """The spans of a trace, in the order in which they began."""
        return sorted(
            self._spans("SELECT * FROM spans WHERE trace = ? LIMIT ?", trace, MOST_SPANS),
            key=lambda span: (span.began, span.parent is not None),
        )

    def shadows_of(self, trace: str) -> list[SpanSample]:
        """The spans of the traces that are linked to this one."""
        linked = self._spans("SELECT * FROM spans WHERE links LIKE ? LIMIT ?", f'%"{trace}"%', MOST_SPANS)
        return [span for root in {span.trace: span for span in linked}.values() for span in self.trace(root.trace)]

    def _spans(self, question: str, *values: object) -> list[SpanSample]:
        with reading(self.path) as database:
            rows = database.execute(question, values).fetchall() if database else []
        return [_span_of(row) for row in rows]


def _span_of(row: Any) -> SpanSample:
    return SpanSample(
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
