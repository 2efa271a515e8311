"""Keeps shadows out of the way of callers: only a small share of the calls may meet one that runs.

A shadow runs both implementations again in the same interpreter, where a call that is under way meanwhile takes up to
twice as long. What can be chosen is how many calls that happens to. So each call earns a fraction of a credit, each
call that met a shadow takes a whole one, and a shadow begins only while there is some left, or in a long silence.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from migration.running.under_way import UnderWay

MOST_CREDIT = 5.0
"""Calls that may meet shadows soon one after another, however many went undisturbed before."""

SILENCE_SECONDS = 3.0
"""After so long without any call a shadow begins in any case: it is over before the next call is likely to come."""

_MEMORY = 0.8
"""How much the number of calls that a shadow is expected to meet depends on what earlier ones met."""


class Courtesy:
    """Says when a shadow may begin. Used by one thread.

    Args:
        calls: the calls of the process.
        share: share of them (0..1) that may meet a shadow; 1 is no limit.
        patience: seconds for which a shadow waits for a moment without calls, before it begins beside them.
        now: the clock, in seconds; it must not go back.
    """

    def __init__(
        self, calls: UnderWay, *, share: float, patience: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._calls = calls
        self._share = share
        self._patience = patience
        self._now = now
        self._credit = 1.0
        self._earned_until = calls.begun
        self._expected = 1.0
        self._silent_since = now()

    def allows(self, since: float) -> bool:
        """Whether a shadow that waits since then may begin."""
        now, quiet = self._now(), self._calls.none()
        if not quiet or self._calls.begun != self._earned_until:
            self._silent_since = now
        self._earn()
        if quiet and now - self._silent_since >= SILENCE_SECONDS:
            return True
        if not quiet and now - since < self._patience:
            return False
        if self._share >= 1:
            return True
        return self._credit > 0 if quiet else self._credit >= min(self._expected, MOST_CREDIT)

    @contextmanager
    def running(self) -> Iterator[None]:
        """A shadow runs inside; what it met is counted when it has ended."""
        begun, beside = self._calls.begun, self._calls.number
        try:
            yield
        finally:
            met = beside + self._calls.begun - begun
            self._earn()
            self._credit -= met
            self._expected = max(1.0, _MEMORY * self._expected + (1 - _MEMORY) * met)

    def _earn(self) -> None:
        begun = self._calls.begun
        self._credit = min(MOST_CREDIT, self._credit + self._share * (begun - self._earned_until))
        self._earned_until = begun
