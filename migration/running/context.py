"""Context variables that a side sets are the caller's, also when the side ran in a copy of the caller's context."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import TypeVar

from migration.running.in_flight import OWN_VARIABLES
from migration.running.workers import beside_loop

T = TypeVar("T")
_MISSING = object()


def carry_back(context: Context) -> None:
    """Set here what was set in `context`, a copy of this context. A variable of the library is not carried."""
    for variable, value in context.items():
        if variable not in OWN_VARIABLES and variable.get(_MISSING) is not value:
            variable.set(value)


async def in_thread(work: Callable[[], T]) -> T:
    """Run `work` beside the running loop, in a copy of this context, and carry its changes back.

    Raises:
        RuntimeError: it raised a `StopIteration`, which no coroutine can raise.
    """
    context = copy_context()
    try:
        result = await beside_loop(functools.partial(context.run, _without_stop, work))
    except asyncio.CancelledError:
        raise  # it may still run
    except BaseException:
        carry_back(context)
        raise
    carry_back(context)
    return result


def _without_stop(work: Callable[[], T]) -> T:
    """As in a coroutine: a `StopIteration` would end the future of the thread without an answer."""
    try:
        return work()
    except StopIteration as error:
        raise RuntimeError("the function raised StopIteration") from error
