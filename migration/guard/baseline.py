"""How long legacy takes for files of a size, as a threshold that only the past decides."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

QUANTILE = 0.95
ENOUGH_CALLS = 100
"""Legacy calls of a size that must have been seen before anything of that size counts as slow."""

FORGET_EVERY = 2_000
"""After so many legacy calls of a size what was counted is halved, so that the baseline follows slow changes."""

LOOK_EVERY = 50
"""Legacy calls of a size between two computations of its threshold."""

IMPERCEPTIBLE_SECONDS = 0.02
"""A call that is over so soon is never slow, whatever legacy takes."""

SIZE_CLASSES = 24
"""Classes of file sizes, each four times the one before; the last takes all that are larger."""

_STEP = math.log(1.1)
"""Durations are counted in steps of ten percent."""

_SHORTEST = 1e-5
_STEPS = 250
"""From 10 µs to more than 2 days."""


@dataclass(slots=True)
class _SizeClass:
    """Legacy's durations for one class of sizes, in steps; `threshold` is None while too few are known."""

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
            self.until_next_look = LOOK_EVERY

    def _quantile(self) -> int:
        left = QUANTILE * self.total
        for step in sorted(self.counts):
            left -= self.counts[step]
            if left <= 0:
                return step
        return _STEPS


class LatencyBaseline:
    """What is slow, by size of the files."""

    def __init__(self) -> None:
        self._classes: dict[int, _SizeClass] = {}

    def is_slow(self, seconds: float, size: int) -> bool:
        """Whether a call took longer than 95 of 100 earlier legacy calls of about this size; False while unknown.

        Args:
            seconds: how long the call took.
            size: of its files, in bytes.
        """
        if seconds < IMPERCEPTIBLE_SECONDS:
            return False
        known = self._classes.get(_size_class(size))
        return known is not None and known.threshold is not None and _step(seconds) > known.threshold

    def add_legacy(self, seconds: float, size: int) -> None:
        """Count a legacy call, after everything has been asked about it."""
        self._classes.setdefault(_size_class(size), _SizeClass()).add(_step(seconds))


def _size_class(size: int) -> int:
    return min(SIZE_CLASSES - 1, max(0, size.bit_length() // 2))


def _step(seconds: float) -> int:
    return min(_STEPS, int(math.log(max(seconds, _SHORTEST) / _SHORTEST) / _STEP))
