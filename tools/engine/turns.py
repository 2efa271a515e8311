"""Long steps on an event loop, one after the other, with everyone else on the loop served in between."""

from __future__ import annotations

import asyncio
from collections import deque

from tools.engine.loops import PerLoop

TURN_SECONDS = 0.001
"""How long steps may follow each other before the loop makes a turn."""

PATIENT_TURNS = 4
"""How many turns, at most, a step waits for one that leaves it time: not for ever, for others may need every turn."""


class Turns:
    """Hands out the right to do something that holds up the loop for a fraction of a millisecond.

    A loop calls everyone who is ready before it looks at its sockets and timers again. With a hundred uploads that
    would add up; so who asks when the time is over waits, and then one step is done for each turn of the loop. A turn
    that took too long by itself, for the handshakes of what has begun before, does without a step.
    """

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._under_way = False
        self._ends = 0.0
        self._turn_began = 0.0
        self._skipped = 0

    async def take(self) -> None:
        """Wait for one's turn, first come, first served."""
        loop = asyncio.get_running_loop()
        if not self._waiting and not self._under_way:
            self._begin(loop)
        elif self._waiting or loop.time() >= self._ends:
            mine = loop.create_future()
            self._waiting.append(mine)
            await mine

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        self._under_way = True
        self._turn_began = loop.time()
        self._ends = self._turn_began + TURN_SECONDS
        loop.call_soon(self._next, loop)

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        began, self._turn_began = self._turn_began, loop.time()
        if self._waiting and self._skipped < PATIENT_TURNS and self._turn_began - began >= TURN_SECONDS:
            self._skipped += 1
            loop.call_soon(self._next, loop)
            return
        self._skipped = 0
        self._under_way = False
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():  # else it was cancelled
                self._begin(loop)
                waiting.set_result(None)
                return


_turns: PerLoop[Turns] = PerLoop()


def turns() -> Turns:
    """Those of the running loop."""
    return _turns.get() or _turns.set(Turns())
