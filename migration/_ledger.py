"""The durable record of what was routed and compared: one SQLite file that all processes of a machine share.

Written by a thread of its own from a bounded queue, so that recording costs a caller microseconds and a full disk
costs it nothing. What does not fit is counted as lost, never waited for.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from migration._errors import LedgerError
from migration._ledger_read import LedgerReader
from migration._ledger_schema import SCHEMA
from migration._model import Comparison, Notice, Operation

_logger = logging.getLogger("migration")

QUEUE_SIZE = 10_000
"""Records waiting to be written; further ones are lost and counted."""

KEEP_ROWS = 10_000
"""Comparisons and notices that are kept; the oldest go first."""

_Write = tuple[str, tuple[Any, ...]]

_COUNT = """
INSERT INTO runs (migration, side, role, result, calls, seconds, bytes, last_at) VALUES (?, ?, ?, ?, 1, ?, ?, ?)
ON CONFLICT (migration, side, role, result) DO UPDATE SET
  calls = calls + 1, seconds = seconds + excluded.seconds, bytes = bytes + excluded.bytes, last_at = excluded.last_at
"""
_DECIDE = """
INSERT INTO decisions
  (migration, at, serve, shadow, probability, shadow_probability, reason, source, flag_version, error)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (migration) DO UPDATE SET at = excluded.at, serve = excluded.serve, shadow = excluded.shadow,
  probability = excluded.probability, shadow_probability = excluded.shadow_probability, reason = excluded.reason,
  source = excluded.source, flag_version = excluded.flag_version, error = excluded.error
"""
_COMPARE = """
INSERT INTO comparisons (at, migration, function, verdict, differences, masked, detail, attributes, flag_version,
  primary_side, primary_seconds, shadow_seconds, primary_trace, shadow_trace)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_NOTICE = "INSERT INTO notices (at, kind, migration, text) VALUES (?, ?, ?, ?)"


class Ledger(LedgerReader):
    """Records as an observer, and answers questions about the record.

    Args:
        path: the SQLite file; made, with its folder, when the first record is written (0600 in 0700).
        now: the clock, in seconds since the epoch.
    """

    def __init__(self, path: Path, *, now: Callable[[], float] = time.time) -> None:
        super().__init__(path)
        self._now = now
        self.lost = 0
        self._start()
        os.register_at_fork(after_in_child=self._start)

    def _start(self) -> None:
        """Begin with an empty queue; a fork does not carry the writing thread over."""
        self._queue: queue.Queue[_Write | threading.Event] = queue.Queue(QUEUE_SIZE)
        self._writer: threading.Thread | None = None
        self._lock = threading.Lock()

    # As an observer

    @contextmanager
    def operation(self, operation: Operation) -> Iterator[None]:
        """Count a run when it has ended, and remember the decision of a call."""
        yield
        if operation.outcome is None:
            return
        call, decision, outcome = operation.call, operation.decision, operation.outcome
        if operation.side is None:
            self._write(
                _DECIDE,
                call.migration, self._now(), decision.serve, decision.shadow, decision.probability,
                decision.shadow_probability, decision.reason, decision.source, decision.flag_version, decision.error,
            )  # fmt: skip
            return
        size = call.attributes.get("file.size", 0) if outcome.error is None else 0
        self._write(
            _COUNT,
            call.migration, operation.side, operation.role, outcome.error_type or "ok",
            outcome.seconds, size, self._now(),
        )  # fmt: skip

    def compared(self, comparison: Comparison) -> None:
        """Add one row."""
        call = comparison.call
        found = [[item.field, item.legacy, item.candidate] for item in comparison.differences]
        self._write(
            _COMPARE,
            self._now(), call.migration, call.function, comparison.verdict, json.dumps(found),
            json.dumps(comparison.masked), comparison.detail, json.dumps(dict(call.attributes)),
            comparison.decision.flag_version, comparison.decision.serve, comparison.primary_seconds,
            comparison.shadow_seconds, comparison.primary_trace, comparison.shadow_trace,
        )  # fmt: skip

    def noticed(self, notice: Notice) -> None:
        """Add one row."""
        self._write(_NOTICE, self._now(), notice.kind, notice.migration, notice.text)

    # Writing

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until everything recorded so far is in the file or counted as lost, at most `timeout` seconds.

        Returns:
            Whether the writer came that far in time.
        """
        if self._writer is None:
            return True
        written = threading.Event()
        try:
            self._queue.put(written, timeout=timeout)
        except queue.Full:
            return False
        return written.wait(timeout)

    def _write(self, statement: str, *values: Any) -> None:
        try:
            self._queue.put_nowait((statement, values))
        except queue.Full:
            self.lost += 1
        if self._writer is None:
            with self._lock:
                if self._writer is None:
                    self._writer = threading.Thread(target=self._run, name="migration-ledger", daemon=True)
                    self._writer.start()
                    atexit.register(self.flush)

    def _run(self) -> None:
        while True:
            batch = [self._queue.get()]
            while len(batch) < 1000 and not self._queue.empty():  # noqa: PLR2004  # one transaction's worth
                batch.append(self._queue.get_nowait())
            writes = [item for item in batch if not isinstance(item, threading.Event)]
            try:
                self._commit(writes)
            except (LedgerError, OSError) as error:
                if not self.lost:
                    _logger.warning("%s; records are lost until it can, calls are unaffected", error)
                self.lost += len(writes)
            for item in batch:
                if isinstance(item, threading.Event):
                    item.set()

    def _commit(self, writes: list[_Write]) -> None:
        if not writes:
            return
        self._make_file()
        try:
            with closing(sqlite3.connect(self.path, timeout=5.0)) as database, database:
                database.executescript(SCHEMA)
                for statement, values in writes:
                    self._store(database, statement, values)
                for table in ("comparisons", "notices"):
                    database.execute(
                        f"DELETE FROM {table} WHERE id <= (SELECT max(id) FROM {table}) - ?",  # noqa: S608  # own names
                        (KEEP_ROWS,),
                    )
        except sqlite3.Error as error:
            raise LedgerError(self.path, str(error)) from error

    def _store(self, database: sqlite3.Connection, statement: str, values: tuple[Any, ...]) -> None:
        """Write one record; one that SQLite cannot take is lost alone."""
        try:
            database.execute(statement, [_storable(value) for value in values])
        except (sqlite3.ProgrammingError, sqlite3.InterfaceError, OverflowError) as error:
            _logger.warning("a record cannot be written to the ledger and is lost: %s", type(error).__name__)
            self.lost += 1

    def _make_file(self) -> None:
        if not self.path.exists():
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.touch(mode=0o600)


def _storable(value: Any) -> Any:
    """Text may hold half characters, as names of files in a foreign encoding do; SQLite wants whole ones."""
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value
