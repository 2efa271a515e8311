"""Values of which each event loop has its own."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

T = TypeVar("T")


class PerLoop(Generic[T]):
    """A value for each running event loop.

    Values refer to their loop, so a weak dictionary would keep both for ever; those of closed loops are dropped when
    another loop sets its value.
    """

    def __init__(self) -> None:
        self._values: dict[asyncio.AbstractEventLoop, T] = {}

    def get(self) -> T | None:
        """The running loop's value, if it has one."""
        return self._values.get(asyncio.get_running_loop())

    def set(self, value: T) -> T:
        """Give the running loop a value."""
        for loop in tuple(self._values):
            if loop.is_closed():
                self._values.pop(loop, None)
        self._values[asyncio.get_running_loop()] = value
        return value

    def pop(self) -> T | None:
        """Take the running loop's value away."""
        return self._values.pop(asyncio.get_running_loop(), None)
