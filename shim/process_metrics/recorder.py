"""Records the metrics of one process: an observer that costs a call microseconds, and a thread that writes."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from migration import Comparison, Decision
from migration.guard import ProcessMemoryGauge
from migration.model import AtEnd, Notice, Operation, Role
from migration.store.shim_db import shim_db
from migration.store.writer import Writer
from observability import RecentSpan
from shim.process_metrics.store import CallSample, ProcessSample, Sample, ShareSample, add, last_share

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

    def close(self, timeout: float = 2.0) -> None:
        """Write down what is left and stop, within about `timeout` seconds. Never raises."""
        super().close(timeout)

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
            if known is None or _words(known) != _words(share):
                changed.append(share)
                known = share
            self._written[migration] = known
        return changed


def _words(share: ShareSample) -> tuple[float, float, str]:
    return share.percent, share.shadow_percent, share.source
