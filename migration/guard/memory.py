"""Whether the process holds too much memory. It cannot be told which call holds it, so the process is judged."""

from __future__ import annotations

import math

from migration.guard.model import Rule
from migration.guard.ports import MemoryGauge

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

    def __init__(self, gauge: MemoryGauge) -> None:
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
