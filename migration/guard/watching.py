"""The runs under way, and which of them hang: a run that never ends must count as well, and only once."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Protocol

from migration.guard.model import ProcessMemoryGauge, Rule
from migration.model.model import Operation

HANG_SECONDS = 120.0
"""How long a run may be under way before it counts as one that ran out of patience."""

MAX_IN_FLIGHT = 10_000
"""Runs whose end is awaited; a further one is judged when it ends, however late."""


class InFlightRuns:
    """The runs that are watched. Whoever takes a run out of it counts that run, so nothing is counted twice.

    Args:
        hang_seconds: a run that is under way for longer hangs.
        clock: what that is measured with, in seconds.
    """

    def __init__(self, *, hang_seconds: float, clock: Callable[[], float]) -> None:
        self._hang_seconds = hang_seconds
        self._clock = clock
        self._runs: dict[int, Run] = {}

    def __len__(self) -> int:
        return len(self._runs)

    def add(self, run: Run) -> bool:
        """Watch a run; False if there are too many, and it is judged at its end only."""
        run.began = self._clock()
        if len(self._runs) >= MAX_IN_FLIGHT:
            return False
        run.due = run.began + self._hang_seconds
        self._runs[id(run)] = run
        return True

    def take(self, run: Run) -> bool:
        """Take a run out; False if it is not there, because it was found hanging before."""
        return self._runs.pop(id(run), None) is not None

    def take_hanging(self) -> list[Operation]:
        """Take out the runs that hang."""
        moment = self._clock()
        return [run.operation for run in list(self._runs.values()) if run.due <= moment and self.take(run)]

    def clear(self) -> None:
        """Forget all of them, in a forked process: they go on in the parent."""
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
        in_flight: where it is watched meanwhile.
        ended: told of its end, whether it counts (not if it was found hanging before), and what interrupted it.

    Attributes:
        began: when it did, by the clock of `in_flight`.
        due: when it hangs, likewise.
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
        """Have it watched, for it may hang."""
        self._watched = self._in_flight.add(self)

    def __exit__(
        self, kind: type[BaseException] | None, interrupt: BaseException | None, trace: TracebackType | None
    ) -> None:
        counts = not self._watched or self._in_flight.take(self)
        self._ended(self, counts=counts, interrupt=interrupt)


class _NotJudged(AbstractContextManager[None]):
    """Surrounds an operation that says nothing about a side."""

    def __exit__(self, *_: object) -> None:
        """Nothing follows."""


NOT_JUDGED = _NotJudged()


# Whether the process holds too much memory. It cannot be told which call holds it, so the process is judged.

CAP = 0.85
"""Share of what the process may have."""

GROWTH_FACTOR = 1.5
GROWTH_BYTES = 256 * 1024 * 1024
"""How much more than when legacy served everything counts as growth: half again, and this much, both."""

LOOK_EVERY_SECONDS = 1.0
CONFIRMATIONS = 3
"""Looks in a row that must find growth; a single large file is none."""


class MemoryWatch:
    """Looks at the memory now and then. The baseline is the most that was seen while legacy served everything."""

    def __init__(self, gauge: ProcessMemoryGauge) -> None:
        self._gauge = gauge
        self._baseline: int | None = None
        self._next_look = -math.inf
        self._confirmed = 0
        self.used = 0

    def look(self, at: float, *, share: float) -> list[Rule]:
        """The rules that are met at this moment.

        Args:
            at: reading of a clock that only goes forwards, seconds.
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
