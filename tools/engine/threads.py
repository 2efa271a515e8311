"""Blocking work beside the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


async def run_in_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a blocking function in a thread, to its end even if the caller is cancelled."""
    call = partial(copy_context().run, function, *args, **kwargs)
    return await to_its_end(asyncio.get_running_loop().run_in_executor(None, call))


async def to_its_end(work: Awaitable[R], *, unwanted: Callable[[R], Awaitable[object]] | None = None) -> R:
    """Wait for work that happens in a thread.

    A thread cannot be stopped. Cancellation therefore takes effect when the work has ended, so that nothing is left
    running behind the caller's back; `unwanted` then disposes of the result.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):  # once more changes nothing
                await asyncio.wait([task])
        # asking for the exception marks it as seen: the caller is told of the cancellation instead
        if not task.cancelled() and task.exception() is None and unwanted is not None:
            await to_its_end(unwanted(task.result()))
        raise
