"""Notices that the other end of a connection has stopped taking data."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

_LOOKS = 5
"""How often one looks for progress within the time that is allowed; a stall is noticed one look late at most."""


class StallWatch:
    """An asynchronous context that a stall ends with `TimeoutError`.

    Only waiting for the connection counts (`waiting`), not the time that reading the file takes. Nothing is planned
    before the first wait: a short body is gone before it could stall.

    Args:
        seconds: how long nothing may be taken.
        progress: anything that changes whenever something is taken.

    Attributes:
        stalled: whether the wait was ended.
    """

    def __init__(self, seconds: float, progress: Callable[[], object]) -> None:
        self.stalled = False
        self._waiting = False
        self._interval = seconds / _LOOKS
        self._progress = progress
        self._seen: object = None
        self._idle_looks = 0
        self._limit = asyncio.timeout(None)
        self._next_look: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        await self._limit.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._next_look is not None:
            self._next_look.cancel()
        await self._limit.__aexit__(kind, error, traceback)

    @property
    def waiting(self) -> bool:
        """Whether one waits for the connection at the moment."""
        return self._waiting

    @waiting.setter
    def waiting(self, waits: bool) -> None:
        self._waiting = waits
        if waits and self._next_look is None:
            self._plan()

    def _plan(self) -> None:
        self._next_look = asyncio.get_running_loop().call_later(self._interval, self._look)

    def _look(self) -> None:
        seen = self._progress()
        idle = self._waiting and seen == self._seen
        self._seen = seen
        self._idle_looks = self._idle_looks + 1 if idle else 0
        if self._idle_looks < _LOOKS:
            self._plan()
            return
        self.stalled = True
        self._limit.reschedule(asyncio.get_running_loop().time())
