"""Measures the delay of an event loop: how late it wakes a sleeper."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import Final

DEFAULT_INTERVAL: Final = 0.1


async def watch_loop_delay(record: Callable[[float], object], *, interval: float = DEFAULT_INTERVAL) -> None:
    """Measure, until cancelled, how much later than asked the running loop wakes a sleeper.

    Args:
        record: is given each delay in seconds.
        interval: seconds between two measurements.
    """
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + interval
        await asyncio.sleep(interval)
        record(max(0.0, loop.time() - due))


def start_loop_watch(record: Callable[[float], object], *, interval: float = DEFAULT_INTERVAL) -> asyncio.Task[None]:
    """Start `watch_loop_delay` on the running loop, outside of whatever trace the caller is in.

    The task lives as long as the loop; in the caller's context it would keep the caller's span as its parent for
    ever. Keep a reference to the task, and cancel it to stop.
    """
    watch = watch_loop_delay(record, interval=interval)
    return asyncio.get_running_loop().create_task(watch, name="loop-delay-watch", context=contextvars.Context())
