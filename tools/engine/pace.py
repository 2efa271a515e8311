"""Sleeping, the clock and randomness, in one place so that tests can replace them."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How time passes.

    Attributes:
        sleep: wait for some seconds.
        jitter: a random number in [0, 1).
        clock: seconds on a clock that never goes back.
    """

    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    jitter: Callable[[], float] = random.random
    clock: Callable[[], float] = time.monotonic


REAL_PACE = Pace()
