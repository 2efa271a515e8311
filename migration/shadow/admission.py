"""Admission control of shadows: how many wait, how much they read, and how many calls they may slow down.

A shadow runs both implementations again in the same interpreter, where a call that is in flight meanwhile takes up to
twice as long. The share of such calls is limited by a credit: each call earns a fraction, each call that overlaps with
a shadow takes a whole one, and a shadow begins only while there is credit left, or after a pause without calls.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from migration.running.in_flight import InFlightCalls

MEGABYTE = 1024 * 1024

WINDOW_SECONDS = 3600.0
"""The window of the hourly budget."""

SLOT_SECONDS = 60.0
"""Use is added up by the minute, so that an hour takes 61 numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowLimits:
    """What comparing may cost one process; what exceeds it is dropped and counted.

    Attributes:
        waiting: shadows that may wait or run at once.
        waiting_bytes: bytes of their input together.
        hourly_bytes: bytes of input that may be read within any hour; each run of a side reads the input once.
        seconds: deadline of a shadow, from the answer to its caller on.
        yield_seconds: how long a shadow waits for in-flight calls before it runs beside them.
        overlap_share: share of the calls (0..1) that may be in flight while a shadow runs; 1 is no limit.
        noise_share: share of the compared calls (0..1) for which legacy runs twice, to learn what of it is noise.
    """

    waiting: int = 64
    waiting_bytes: int = 256 * MEGABYTE
    hourly_bytes: int = 8192 * MEGABYTE
    seconds: float = 60.0
    yield_seconds: float = 1.0
    overlap_share: float = 1.0
    noise_share: float = 0.0


class ShadowCapacity:
    """Bounds the shadows that wait or run, in number and in bytes. Not thread-safe."""

    def __init__(self, places: int, size: int) -> None:
        self._places = places
        self._size = size
        self.taken = 0
        self.bytes = 0

    def acquire(self, size: int) -> str | None:
        """Take a place for `size` bytes; the reason if there is none, else None."""
        if self.taken >= self._places:
            return f"{self._places} shadows are already waiting"
        if self.bytes + size > self._size:
            return f"the shadows that are waiting have {self.bytes} of {self._size} bytes, and this one has {size}"
        self.taken += 1
        self.bytes += size
        return None

    def release(self, size: int) -> None:
        """Give the place back."""
        self.taken -= 1
        self.bytes -= size


class HourlyBudget:
    """Grants bytes, never more than `limit` within any hour.

    Args:
        limit: bytes an hour.
        now: the clock, in seconds; it must not go back.
    """

    def __init__(self, limit: int, now: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self._now = now
        self._slots: deque[tuple[float, int]] = deque()
        self._used = 0

    def take(self, size: int) -> bool:
        """Take `size` bytes, all or none."""
        slot = self._now() // SLOT_SECONDS * SLOT_SECONDS
        while self._slots and self._slots[0][0] < slot - WINDOW_SECONDS:
            self._used -= self._slots.popleft()[1]
        if self._used + size > self.limit:
            return False
        before = self._slots.pop()[1] if self._slots and self._slots[-1][0] == slot else 0
        self._slots.append((slot, before + size))
        self._used += size
        return True


MOST_CREDIT = 5.0
"""Calls that may overlap with shadows one after another, however many did not before."""

SILENCE_SECONDS = 3.0
"""After so long without a call a shadow begins in any case: it has probably ended before the next call."""

_MEMORY = 0.8
"""Weight of earlier shadows in the number of calls that a shadow is expected to overlap with."""


class AdmissionControl:
    """Decides when a shadow may begin. Used by one thread.

    Args:
        calls: the calls of the process.
        share: share of them (0..1) that may overlap with a shadow; 1 is no limit.
        yield_seconds: how long a shadow waits for a moment without calls before it begins beside them.
        now: the clock, in seconds; it must not go back.
    """

    def __init__(
        self, calls: InFlightCalls, *, share: float, yield_seconds: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._calls = calls
        self._share = share
        self._yield_seconds = yield_seconds
        self._now = now
        self._credit = 1.0
        self._earned_until = calls.begun
        self._expected = 1.0
        self._idle_since = now()

    def allows(self, since: float) -> bool:
        """Whether a shadow that has waited since then may begin."""
        now, quiet = self._now(), self._calls.idle()
        if not quiet or self._calls.begun != self._earned_until:
            self._idle_since = now
        self._earn()
        if quiet and now - self._idle_since >= SILENCE_SECONDS:
            return True
        if not quiet and now - since < self._yield_seconds:
            return False
        if self._share >= 1:
            return True
        return self._credit > 0 if quiet else self._credit >= min(self._expected, MOST_CREDIT)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Surrounds a shadow, and charges the calls that overlapped with it."""
        begun, beside = self._calls.begun, self._calls.count
        try:
            yield
        finally:
            overlapped = beside + self._calls.begun - begun
            self._earn()
            self._credit -= overlapped
            self._expected = max(1.0, _MEMORY * self._expected + (1 - _MEMORY) * overlapped)

    def _earn(self) -> None:
        begun = self._calls.begun
        self._credit = min(MOST_CREDIT, self._credit + self._share * (begun - self._earned_until))
        self._earned_until = begun
