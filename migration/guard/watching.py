"""What is watched besides failures: runs that hang, durations, and memory."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol

from migration.guard.model import ProcessMemoryGauge, Rule
from migration.model.model import Operation

HANG_SECONDS = 120.0
"""A run that is in flight for longer counts as a timeout."""

MAX_IN_FLIGHT = 10_000
"""Runs that are watched; further ones are judged when they end, however late."""


class InFlightRuns:
    """The runs that are watched. A run is counted when it is taken out, so that it counts once.

    Args:
        hang_seconds: a run that is in flight for longer hangs.
        clock: a clock that only goes forwards, in seconds.
    """

    def __init__(self, *, hang_seconds: float, clock: Callable[[], float]) -> None:
        self._hang_seconds = hang_seconds
        self._clock = clock
        self._runs: dict[int, Run] = {}

    def __len__(self) -> int:
        return len(self._runs)

    def add(self, run: Run) -> bool:
        """Watch a run; False if there are too many, so that it is judged at its end only."""
        run.began = self._clock()
        if len(self._runs) >= MAX_IN_FLIGHT:
            return False
        run.due = run.began + self._hang_seconds
        self._runs[id(run)] = run
        return True

    def take(self, run: Run) -> bool:
        """Take a run out; False if it was found hanging before."""
        return self._runs.pop(id(run), None) is not None

    def take_hanging(self) -> list[Operation]:
        """Take out the runs that hang."""
        moment = self._clock()
        return [run.operation for run in list(self._runs.values()) if run.due <= moment and self.take(run)]

    def clear(self) -> None:
        """Forget all of them, in a forked process: they belong to the parent."""
        self._runs.clear()


class RunEnded(Protocol):
    """Called at the end of a run."""

    def __call__(self, run: Run, *, counts: bool, interrupt: BaseException | None) -> None:
        """The run has ended; `counts` is False if it was found hanging before, `interrupt` is what ended it early."""
        ...


class Run(AbstractContextManager[None]):
    """Surrounds one run.

    Args:
        operation: what is run.
        in_flight: watches it meanwhile.
        ended: called at its end.

    Attributes:
        began: reading of the clock of `in_flight`, in seconds.
        due: when it counts as hanging, likewise.
    """

    __slots__ = ("_ended", "_in_flight", "_watched", "began", "due", "operation")

    def __init__(self, operation: Operation, in_flight: InFlightRuns, ended: RunEnded) -> None:
        self.operation = operation
        self.began = 0.0
        self.due = 0.0
        self._in_flight = in_flight
        self._ended = ended
        self._watched = False

    def __enter__(self) -> None:
        """Have it watched."""
        self._watched = self._in_flight.add(self)

    def __exit__(
        self, kind: type[BaseException] | None, interrupt: BaseException | None, trace: TracebackType | None
    ) -> None:
        counts = not self._watched or self._in_flight.take(self)
        self._ended(self, counts=counts, interrupt=interrupt)


class _NotJudged(AbstractContextManager[None]):
    """Surrounds an operation that is not judged."""

    def __exit__(self, *_: object) -> None:
        """Do nothing."""


NOT_JUDGED = _NotJudged()


# Which calls are slow

QUANTILE = 0.95
ENOUGH_CALLS = 100
"""Legacy calls of a class of sizes before which no call of that class counts as slow."""

FORGET_EVERY = 2_000
"""Legacy calls of a class after which its counts are halved, so that the baseline follows slow changes."""

COMPUTE_EVERY = 50
"""Legacy calls of a class between two computations of its threshold."""

IMPERCEPTIBLE_SECONDS = 0.02
"""A shorter call is never slow."""

SIZE_CLASSES = 24
"""Classes of file sizes, each four times as large as the one before; the last has no upper end."""

_STEP = math.log(1.1)
"""Durations are counted in steps of ten percent."""

_SHORTEST = 1e-5
_STEPS = 250
"""From 10 µs to more than 2 days."""


@dataclass(slots=True)
class _SizeClass:
    """Legacy's durations of one class of sizes, in steps; `threshold` is None while too few are known."""

    counts: Counter[int] = field(default_factory=Counter)
    total: int = 0
    until_next_look: int = ENOUGH_CALLS
    threshold: int | None = None

    def add(self, step: int) -> None:
        self.counts[step] += 1
        self.total += 1
        if self.total >= FORGET_EVERY:
            self.counts = Counter({step: count // 2 for step, count in self.counts.items() if count > 1})
            self.total = self.counts.total()
        self.until_next_look -= 1
        if self.until_next_look <= 0:
            self.threshold = self._quantile()
            self.until_next_look = COMPUTE_EVERY

    def _quantile(self) -> int:
        left = QUANTILE * self.total
        for step in sorted(self.counts):
            left -= self.counts[step]
            if left <= 0:
                return step
        return _STEPS


class LatencyBaseline:
    """Legacy's durations, by size of the files, and which calls are slow compared with them."""

    def __init__(self) -> None:
        self._classes: dict[int, _SizeClass] = {}

    def is_slow(self, seconds: float, size: int) -> bool:
        """Whether a call took longer than 95 of 100 legacy calls of about its size; False while too few are known.

        Args:
            seconds: its duration.
            size: of its files, in bytes.
        """
        if seconds < IMPERCEPTIBLE_SECONDS:
            return False
        known = self._classes.get(_size_class(size))
        return known is not None and known.threshold is not None and _step(seconds) > known.threshold

    def add_legacy(self, seconds: float, size: int) -> None:
        """Count a legacy call; `is_slow` is asked about it before."""
        self._classes.setdefault(_size_class(size), _SizeClass()).add(_step(seconds))


def _size_class(size: int) -> int:
    return min(SIZE_CLASSES - 1, max(0, size.bit_length() // 2))


def _step(seconds: float) -> int:
    return min(_STEPS, int(math.log(max(seconds, _SHORTEST) / _SHORTEST) / _STEP))


# Memory, of the whole process: which call holds it cannot be told

CAP = 0.85
"""Share of the memory that the process may use."""

GROWTH_FACTOR = 1.5
GROWTH_BYTES = 256 * 1024 * 1024
"""Growth compared with the time when legacy served every call: half as much again and at least these bytes more."""

LOOK_EVERY_SECONDS = 1.0
CONFIRMATIONS = 3
"""Looks in a row that must find growth, so that a single large file does not count."""


class MemoryWatch:
    """Looks at the memory once a second. The baseline is the most that was seen while legacy served every call."""

    def __init__(self, gauge: ProcessMemoryGauge) -> None:
        self._gauge = gauge
        self._baseline: int | None = None
        self._next_look = -math.inf
        self._confirmed = 0
        self.used = 0

    def look(self, at: float, *, share: float) -> list[Rule]:
        """The rules that are met at this moment.

        Args:
            at: reading of a clock that only goes forwards, in seconds.
            share: of the calls that go to the candidate.
        """
        if at < self._next_look:
            return []
        self._next_look = at + LOOK_EVERY_SECONDS
        self.used = self._gauge.used()
        if share <= 0 or self._baseline is None:
            self._baseline = max(self._baseline or 0, self.used)
            return []
        met = [Rule.MEMORY_CAP] if self.used >= CAP * self._gauge.limit() else []
        grown = self.used > max(self._baseline * GROWTH_FACTOR, self._baseline + GROWTH_BYTES)
        self._confirmed = self._confirmed + 1 if grown else 0
        return [*met, Rule.MEMORY_GROWTH] if self._confirmed >= CONFIRMATIONS else met
