"""Who may begin, and when: the whole policy of the throttle, without a clock of its own, a lock, or a loop.

- Never more than the limit are under way. The limit adapts, or is fixed.
- Users come before shadows. A shadow begins only if no user waits, and shadows take at most half of the limit.
- The longest uploads take at most three quarters of it, so that short ones need not wait for the end of a long one.
- Who was refused most often comes first, but among fewer: half of the limit after one refusal, a quarter after two. So
  those who can be refused only a few times more are not the ones who try out how much the server takes.
- After a refusal nobody begins for a while.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from enum import IntEnum

from tools.engine.aimd import AdaptiveLimit
from tools.engine.fairness import CLASSES, LONGEST, FairQueue, class_of


class Priority(IntEnum):
    """On whose behalf an upload is made."""

    USER = 0
    SHADOW = 1


@dataclass(slots=True, eq=False, kw_only=True)
class Ticket:
    """One request for a place, and then the place.

    Attributes:
        size: bytes that will be sent.
        priority: on whose behalf.
        refusals: how often the server refused the same before.
        generation: of the limit, when it began.
        begun: whether it has the place.
    """

    size: int
    priority: Priority = Priority.USER
    refusals: int = 0
    generation: int = field(default=0, init=False)
    begun: bool = field(default=False, init=False)


class Limiter:
    """The policy. Times are seconds on any clock that never goes back.

    Attributes:
        limit: how many may be under way at once.
        under_way: how many have begun and not ended.
    """

    def __init__(self, limit: AdaptiveLimit) -> None:
        self.limit = limit
        self.under_way = 0
        self._shadows = 0
        self._long_ones = 0
        self._lines = tuple(_Line() for _ in Priority)
        self._advised_until = 0.0
        self._paused_until = 0.0

    @property
    def waiting(self) -> int:
        """How many have not begun."""
        return sum(map(len, self._lines))

    def held_for(self, now: float) -> float:
        """Seconds for which those who have a place must not send yet; 0 if they may."""
        return max(0.0, self._advised_until - now, self._paused_until - now)

    def ask(self, ticket: Ticket) -> None:
        """Queue up for a place; `begin` gives it."""
        self._lines[ticket.priority].join(ticket)

    def begin(self) -> Iterator[Ticket]:
        """Give a place to everyone who may have one now."""
        while (ticket := self._next()) is not None:
            ticket.begun = True
            ticket.generation = self.limit.generation
            self._count(ticket, 1)
            yield ticket

    def end(self, ticket: Ticket) -> None:
        """Give the place back, or give up waiting for it; others may begin."""
        if ticket.begun:
            ticket.begun = False
            self._count(ticket, -1)
        else:
            self._lines[ticket.priority].leave(ticket)

    def succeeded(self, ticket: Ticket) -> None:
        """What this place was for went well. So nobody need pause, unless the server itself named a time."""
        self._paused_until = 0.0
        self.limit.succeeded(ticket.generation, in_full=self.under_way >= self.limit.current)

    def refused(self, ticket: Ticket, *, until: float, advised: bool) -> None:
        """The server refused this one because it is asked too much; `advised`: and named the time `until`."""
        self.limit.refused(ticket.generation)
        if advised:
            self._advised_until = max(self._advised_until, until)
        else:
            self._paused_until = max(self._paused_until, until)

    def _next(self) -> Ticket | None:
        if self.under_way >= self.limit.current:
            return None
        users, shadows = self._lines
        if users:
            return self._first_of(users)
        if shadows and self._shadows < max(1, self.limit.current // 2):
            return self._first_of(shadows)
        return None

    def _first_of(self, line: _Line) -> Ticket | None:
        limit = self.limit.current
        long_ones_fit = self._long_ones < limit - limit // 4
        return line.first(
            classes=CLASSES if long_ones_fit else CLASSES[:LONGEST], under_way=self.under_way, limit=limit
        )

    def _count(self, ticket: Ticket, change: int) -> None:
        self.under_way += change
        self._shadows += change if ticket.priority is Priority.SHADOW else 0
        self._long_ones += change if class_of(ticket.size) == LONGEST else 0


class _Line:
    """Those of one priority who wait."""

    def __init__(self) -> None:
        self._fresh: FairQueue[Ticket] = FairQueue()
        self._refused: dict[int, OrderedDict[Ticket, None]] = {}

    def __len__(self) -> int:
        return len(self._fresh) + sum(map(len, self._refused.values()))

    def __bool__(self) -> bool:
        return bool(self._refused or self._fresh)

    def join(self, ticket: Ticket) -> None:
        if ticket.refusals:
            self._refused.setdefault(ticket.refusals, OrderedDict())[ticket] = None
        else:
            self._fresh.put(ticket, ticket.size)

    def leave(self, ticket: Ticket) -> None:
        self._fresh.discard(ticket, ticket.size)
        alike = self._refused.get(ticket.refusals, OrderedDict())
        alike.pop(ticket, None)
        if not alike:
            self._refused.pop(ticket.refusals, None)

    def first(self, *, classes: Collection[int], under_way: int, limit: int) -> Ticket | None:
        """Take whoever may begin next, of these classes. Nobody overtakes one who waits for fewer to be under way."""
        ticket = next(iter(self._refused[max(self._refused)])) if self._refused else None
        if ticket is None or class_of(ticket.size) not in classes:
            return self._fresh.take(classes)
        if under_way >= max(1, limit >> ticket.refusals):
            return None
        self.leave(ticket)
        return ticket
