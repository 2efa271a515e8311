"""Records the metrics of one process: an observer that costs a call microseconds, and a thread that writes."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, TypeVar

from migration import Comparison, Decision
from migration.model import Notice, Operation, Role
from shim.process_metrics.model import CallSample, ProcessMetricsError, ProcessSample, ShareSample, SpanSample
from shim.process_metrics.store import ProcessMetricsReader, Sample, write

ROUND_SECONDS = 1.0
"""Between two samples."""

MAX_WAITING = 10_000
"""Calls, and spans likewise, of one round; further ones are counted and not written down."""

_logger = logging.getLogger(__name__)
_Kept = TypeVar("_Kept")


class MemoryGauge(Protocol):
    """The memory of this process, in bytes."""

    def used(self) -> int:
        """What is resident."""
        ...

    def limit(self) -> int:
        """What it may have."""
        ...


class ProcessMetrics:
    """Takes part as an observer; its thread begins with the first call, and anew after a fork.

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
        memory: MemoryGauge,
        pool: Callable[[], tuple[int, int] | None] = lambda: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._instance = instance
        self._memory = memory
        self._pool = pool
        self._now = now
        self._failing = False
        self._reset()
        _recorders.add(self)

    def _reset(self) -> None:
        """Begin with nothing: a fork carries neither the thread over nor who holds the lock."""
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._calls: list[CallSample] = []
        self._spans: list[SpanSample] = []
        self._lost = 0
        self._loop_delay: float | None = None
        self._decisions: dict[str, Decision] = {}
        self._written: dict[str, ShareSample] = {}

    # As an observer

    def operation(self, operation: Operation) -> AbstractContextManager[None]:
        """Note a decision, and a run that answers a caller, when it has ended."""
        return _Noted(self, operation)

    def compared(self, comparison: Comparison) -> None:
        """Comparisons are the ledger's business."""

    def noticed(self, notice: Notice) -> None:
        """Messages for operators likewise."""

    def ended(self, operation: Operation) -> None:
        """Note an operation whose outcome is known."""
        outcome = operation.outcome
        if outcome is None or operation.role is not Role.PRIMARY:
            return
        if self._thread is None:
            self._start()
        if operation.side is None:
            self._decisions[operation.call.migration] = operation.decision
            return
        size = operation.call.attributes.get("file.size", 0)
        self._keep(
            self._calls,
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

    def keep_spans(self, spans: Iterable[SpanSample]) -> None:
        """Note finished spans."""
        for span in spans:
            self._keep(self._spans, span)

    def loop_delayed(self, seconds: float) -> None:
        """Note how late the background loop woke a sleeper."""
        with self._lock:
            self._loop_delay = max(seconds, self._loop_delay or 0.0)

    def close(self, timeout: float = 2.0) -> None:
        """Write down what is left and stop, within about `timeout` seconds. Never raises."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join(timeout)

    def _keep(self, waiting: list[_Kept], sample: _Kept) -> None:
        with self._lock:
            if len(waiting) < MAX_WAITING:
                waiting.append(sample)
            else:
                self._lost += 1

    def _start(self) -> None:
        with self._lock:
            if self._thread is None and not self._closed.is_set():
                self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
                self._thread.start()

    # In the thread

    def _run(self) -> None:
        ended = False
        while not ended:
            ended = self._closed.wait(ROUND_SECONDS)
            samples: list[Sample] = []
            try:
                samples = self._taken()
                write(self._path, samples)
            except Exception as error:  # noqa: BLE001  # whatever fails once must not end the record
                self._written.clear()
                lost = len(samples) + sum(each.lost for each in samples if isinstance(each, ProcessSample))
                with self._lock:
                    self._lost += lost
                if not self._failing:
                    _logger.warning("%s; calls are unaffected, the console lacks what is not written", error)
                self._failing = True
            else:
                self._failing = False

    def _taken(self) -> list[Sample]:
        """What there is to be written; it is then forgotten here."""
        with self._lock:
            # emptied, not replaced: who waits for the lock to add something has these very lists in hand
            calls, spans = self._calls.copy(), self._spans.copy()
            self._calls.clear()
            self._spans.clear()
            lost, self._lost = self._lost, 0
            delay, self._loop_delay = self._loop_delay, None
        used, limit = self._pool() or (None, None)
        process = ProcessSample(
            at=self._now(),
            process=f"{self._instance}:{os.getpid()}",
            memory=self._memory.used(),
            memory_limit=self._memory.limit(),
            pool_used=used,
            pool_limit=limit,
            loop_delay=delay,
            lost=lost,
        )
        return [*calls, *spans, *self._changed_shares(), process]

    def _changed_shares(self) -> list[ShareSample]:
        """The shares in force, where they are not those that this instance has written down last."""
        changed = []
        for migration, decision in list(self._decisions.items()):
            known = self._written.get(migration) or self._last_share(migration)
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

    def _last_share(self, migration: str) -> ShareSample | None:
        try:
            return ProcessMetricsReader(self._path).last_share(self._instance, migration)
        except ProcessMetricsError:
            return None  # writing will say so


def _words(share: ShareSample) -> tuple[float, float, str]:
    return share.percent, share.shadow_percent, share.source


class _Noted(AbstractContextManager[None]):
    """Surrounds an operation; a generator would cost each call three times as much."""

    __slots__ = ("_metrics", "_operation")

    def __init__(self, metrics: ProcessMetrics, operation: Operation) -> None:
        self._metrics = metrics
        self._operation = operation

    def __enter__(self) -> None:
        """Nothing is known before the end."""

    def __exit__(self, *_: object) -> None:
        self._metrics.ended(self._operation)


_recorders: weakref.WeakSet[ProcessMetrics] = weakref.WeakSet()


def _reset_all() -> None:
    for recorder in list(_recorders):
        recorder._reset()  # noqa: SLF001  # the module's own class


os.register_at_fork(after_in_child=_reset_all)
