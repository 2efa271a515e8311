"""How many uploads run at once on an event loop."""

from __future__ import annotations

import asyncio

from tools.engine.loops import PerLoop
from tools.settings import get_settings

_semaphores: PerLoop[dict[int, asyncio.Semaphore]] = PerLoop()


async def get_upload_semaphore(max_concurrent: int | None = None) -> asyncio.Semaphore:
    """The running loop's throttle that lets `max_concurrent` uploads run at once.

    Everyone who asks for the same number on the same loop shares one throttle. None means the configured
    `upload_concurrency`, which is what the gateways use.

    Raises:
        ValueError: `max_concurrent` is below 1.
    """
    limit = get_settings().upload_concurrency if max_concurrent is None else max_concurrent
    if limit < 1:
        raise ValueError(f"max_concurrent must be at least 1, not {limit}")
    semaphores = _semaphores.get()
    if semaphores is None:
        semaphores = _semaphores.set({})
    return semaphores.setdefault(limit, asyncio.Semaphore(limit))
