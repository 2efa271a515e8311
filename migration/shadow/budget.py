"""What comparing may cost: how much may wait, and how much may be read in an hour."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

MEGABYTE = 1024 * 1024

WINDOW_SECONDS = 3600.0
"""The hour of the hourly budget."""

SLOT_SECONDS = 60.0
"""What is used is added up by the minute, so that an hour takes 61 figures to remember."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowLimits:
    """What comparing may cost one process; what exceeds it is dropped and counted.

    Attributes:
        waiting: shadows that may wait or run at once.
        waiting_bytes: bytes of input that these may have together.
        hourly_bytes: bytes of input that may be read again within any hour; each run of a side reads the input once.
        seconds: how long after its caller was answered a shadow must be over.
        patience: seconds for which a shadow lets calls under way go first.
        meets: share of the calls (0..1) that may be under way while a shadow runs; 1 is no limit.
        noise_share: share of the compared calls (0..1) for which legacy runs twice, to learn what of it is noise.
    """

    waiting: int = 64
    waiting_bytes: int = 256 * MEGABYTE
    hourly_bytes: int = 8192 * MEGABYTE
    seconds: float = 60.0
    patience: float = 1.0
    meets: float = 1.0
    noise_share: float = 0.0


class Room:
    """Where shadows wait and run, bounded in number and in bytes. Not safe for several threads by itself."""

    def __init__(self, places: int, size: int) -> None:
        self._places = places
        self._size = size
        self.taken = 0
        self.bytes = 0

    def enter(self, size: int) -> str | None:
        """Take a place for `size` bytes; why there is none, or None if there was one."""
        if self.taken >= self._places:
            return f"{self._places} shadows are already waiting"
        if self.bytes + size > self._size:
            return f"the shadows that are waiting have {self.bytes} of {self._size} bytes, and this one has {size}"
        self.taken += 1
        self.bytes += size
        return None

    def leave(self, size: int) -> None:
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
