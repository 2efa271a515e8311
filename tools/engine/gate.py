"""The throttle's policy at work: coroutines of any event loop of this process wait for their turn.

Policy and waiting list are behind one lock, which is held for microseconds and never across an `await`.
"""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from typing import Self

from tools.engine.limiter import Limiter, Priority, Ticket
from tools.engine.pace import REAL_PACE, Pace


@dataclass(frozen=True, slots=True, kw_only=True)
class GateStatus:
    """A gate as it stands.

    Attributes:
        limit: how many may be inside at once.
        ceiling: the highest that the limit can become.
        inside: how many are.
        waiting: how many are not yet.
        held_seconds: how long those inside must still hold back because the server refused somebody.
    """

    limit: int
    ceiling: int
    inside: int
    waiting: int
    held_seconds: float


@dataclass(slots=True)
class _Turn:
    """Wakes one who waits, on whatever loop that is."""

    loop: asyncio.AbstractEventLoop
    come: asyncio.Future[None] = field(init=False)

    def __post_init__(self) -> None:
        self.come = self.loop.create_future()

    def call(self) -> bool:
        """Wake it up. False if its loop has ended without it."""
        if self.loop is asyncio._get_running_loop():  # noqa: SLF001  # documented for low-level code: None outside of loops
            self._wake()
            return True
        try:
            self.loop.call_soon_threadsafe(self._wake)
        except RuntimeError:
            return False
        return True

    def _wake(self) -> None:
        if not self.come.done():
            self.come.set_result(None)


class Gate:
    """Lets in as many as its policy allows."""

    def __init__(self, limiter: Limiter) -> None:
        self._limiter = limiter
        self._turns: dict[Ticket, _Turn] = {}
        self._lock = threading.RLock()  # the collector may end an abandoned coroutine, and with it its place, anywhere

    def place(
        self, size: int, priority: Priority = Priority.USER, *, refusals: int = 0, pace: Pace = REAL_PACE
    ) -> Place:
        """A place for so many bytes that were refused so often before, to be entered with `async with`."""
        return Place(self, Ticket(size=size, priority=priority, refusals=refusals), pace)

    def status(self, *, now: float) -> GateStatus:
        """How the gate stands at a time of the pace's clock. From any thread."""
        with self._lock:
            return GateStatus(
                limit=self._limiter.limit.current,
                ceiling=self._limiter.limit.ceiling,
                inside=self._limiter.under_way,
                waiting=self._limiter.waiting,
                held_seconds=self._limiter.held_for(now),
            )

    async def enter(self, ticket: Ticket) -> None:
        """Wait for a turn. Whoever is cancelled meanwhile has neither a place nor a claim to one."""
        with self._lock:
            self._limiter.ask(ticket)
            self._let_in()
            if ticket.begun:
                return
            turn = self._turns[ticket] = _Turn(asyncio.get_running_loop())
        try:
            await turn.come
        except BaseException:
            self.leave(ticket)
            raise

    def leave(self, ticket: Ticket) -> None:
        """Give a place, or the claim to one, to others."""
        with self._lock:
            self._turns.pop(ticket, None)
            self._limiter.end(ticket)
            self._let_in()

    def held_for(self, now: float) -> float:
        """Seconds for which nothing may be sent."""
        with self._lock:
            return self._limiter.held_for(now)

    def succeeded(self, ticket: Ticket) -> None:
        """What a place was for went well."""
        with self._lock:
            self._limiter.succeeded(ticket)

    def refused(self, ticket: Ticket, *, until: float, advised: bool) -> None:
        """The server refused because it is asked too much; see `Limiter.refused`."""
        with self._lock:
            self._limiter.refused(ticket, until=until, advised=advised)

    def _let_in(self) -> None:
        for ticket in self._limiter.begin():
            turn = self._turns.pop(ticket, None)
            if turn is not None and not turn.call():
                self._limiter.end(ticket)


class Place:
    """One place behind a gate. Entering waits for a turn, and then for as long as the gate holds everybody back."""

    __slots__ = ("_gate", "_pace", "_ticket")

    def __init__(self, gate: Gate, ticket: Ticket, pace: Pace) -> None:
        self._gate = gate
        self._ticket = ticket
        self._pace = pace

    async def __aenter__(self) -> Self:
        await self._gate.enter(self._ticket)
        try:
            while (seconds := self._gate.held_for(self._pace.clock())) > 0:
                await self._pace.sleep(seconds)
        except BaseException:
            self._gate.leave(self._ticket)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._gate.leave(self._ticket)

    def succeeded(self) -> None:
        """Say that the request went well."""
        self._gate.succeeded(self._ticket)

    def refused(self, seconds: float, *, advised: bool) -> None:
        """Say that the server refused, and for how long to pause; `advised`: it named that time itself."""
        self._gate.refused(self._ticket, until=self._pace.clock() + seconds, advised=advised)
