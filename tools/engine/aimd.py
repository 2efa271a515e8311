"""An adaptive concurrency limit (AIMD): a little higher after success, half after a refusal."""

from __future__ import annotations

FIRST_LIMIT = 8
"""Requests at once to a server of which nothing is known yet."""

_PATIENCE = 8
"""How many times longer than usual the limit stays below a number that was refused, before that is tried again."""


class AdaptiveLimit:
    """Additive increase, multiplicative decrease (RFC 5681 has the reasons), with no clock.

    A round trip is a generation: a refusal lowers the limit once and begins a new one. Requests that began before that
    say nothing about the new limit, whether they fail or not. Until the first refusal each success raises the limit.

    Attributes:
        ceiling: the limit's highest value; the lowest is 1.
        current: the limit.
    """

    def __init__(self, *, ceiling: int, first: int = FIRST_LIMIT) -> None:
        if ceiling < 1 or first < 1:
            raise ValueError(f"a limit is at least 1, not {min(ceiling, first)}")
        self.ceiling = ceiling
        self.current = min(first, ceiling)
        self.generation = 0
        self._refused_at = 0
        self._successes = 0

    def succeeded(self, generation: int, *, in_full: bool) -> None:
        """A request that began in this generation went well; `in_full`: as many were under way as the limit allows."""
        if generation != self.generation or not in_full or self.current == self.ceiling:
            return
        self._successes += 1
        if self._successes >= self._window():
            self.current += 1
            self._successes = 0

    def refused(self, generation: int) -> None:
        """A request that began in this generation was one too many."""
        if generation != self.generation:
            return
        self._refused_at = self.current
        self.current = max(1, self.current // 2)
        self.generation += 1
        self._successes = 0

    def _window(self) -> int:
        """How many successes raise the limit by one."""
        if self.generation == 0:
            return 1
        return self.current * (_PATIENCE if self.current + 1 == self._refused_at else 1)
