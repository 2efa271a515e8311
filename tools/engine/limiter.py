"""Who may begin, and when: the whole policy of the throttle, without a clock of its own, a lock, or a loop.

Start-time fair queueing (Goyal, Vin, Cheng 1996) between classes of size, first come first served within a class. A
class pays with time for what it starts; the class that has paid least comes next. As long as two classes have a request
waiting, what they start differs by no more than one upload of each, in cost.

- Never more than the limit are in flight. The limit adapts, or is fixed.
- Users come before shadows. A shadow begins only if no user waits, and shadows take at most half of the limit.
- The longest uploads take at most three quarters of it, so that short ones need not wait for the end of a long one.
- Who was refused most often comes first, but among fewer: half of the limit after one refusal, a quarter after two. So
  those who can be refused only a few times more are not the ones who try out how much the server takes.
- After a refusal no request begins for a while.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Generic, TypeVar

from tools.settings import MEGABYTE

FIRST_LIMIT = 8
"""Requests at once to a server of which nothing is known yet."""

_RETRY_ROUNDS = 8
"""How many times longer than usual the limit stays below a number that was refused, before that is tried again."""


class AdaptiveLimit:
    """Additive increase, multiplicative decrease (RFC 5681 has the reasons), with no clock.

    A round trip is a generation: a refusal lowers the limit once and begins a new one. Requests that began before that
    say nothing about the new limit, whether they fail or not. Until the first refusal each success raises the limit.

    Attributes:
        ceiling: the limit's highest value; the lowest is 1.
        current: the limit.
    """

    def __init__(self, *, ceiling: int, first: int = FIRST_LIMIT) -> None:
        if ceiling < 1 or first < 1:
            raise ValueError(f"a limit is at least 1, not {min(ceiling, first)}")
        self.ceiling = ceiling
        self.current = min(first, ceiling)
        self.generation = 0
        self._refused_at = 0
        self._successes = 0

    def succeeded(self, generation: int, *, in_full: bool) -> None:
        """A request that began in this generation went well; `in_full`: as many were in flight as the limit allows."""
        if generation != self.generation or not in_full or self.current == self.ceiling:
            return
        self._successes += 1
        if self._successes >= self._window():
            self.current += 1
            self._successes = 0

    def refused(self, generation: int) -> None:
        """A request that began in this generation was one too many."""
        if generation != self.generation:
            return
        self._refused_at = self.current
        self.current = max(1, self.current // 2)
        self.generation += 1
        self._successes = 0

    def _window(self) -> int:
        """How many successes raise the limit by one."""
        if self.generation == 0:
            return 1
        return self.current * (_RETRY_ROUNDS if self.current + 1 == self._refused_at else 1)


# Whose turn it is: small uploads are not stuck behind large ones, and large ones are not passed over for ever.

CLASS_BOUNDS = (MEGABYTE // 4, 8 * MEGABYTE)
"""Largest size of each class but the last, in bytes: sent in one write; sent within a second or so; the long ones."""

CLASSES = range(len(CLASS_BOUNDS) + 1)
LONGEST = CLASSES[-1]

_COST_OF_ANY = MEGABYTE
"""What an upload costs, however short: the bytes that go over a wire in the time of its round trips."""

T = TypeVar("T")


def class_of(size: int) -> int:
    """The class of an upload of so many bytes; 0 is the shortest."""
    return bisect_left(CLASS_BOUNDS, size)


def cost_of(size: int) -> int:
    """How much an upload takes of what all share, in bytes."""
    return _COST_OF_ANY + size


class FairQueue(Generic[T]):
    """Those who wait, by class. Every operation takes constant time."""

    def __init__(self) -> None:
        self._waiting: tuple[OrderedDict[T, int], ...] = tuple(OrderedDict() for _ in CLASSES)
        self._paid = [0 for _ in CLASSES]
        self._time = 0

    def __len__(self) -> int:
        return sum(map(len, self._waiting))

    def __bool__(self) -> bool:
        return any(self._waiting)

    def put(self, item: T, size: int) -> None:
        """Queue up. A class that comes back after an absence has no credit from it."""
        number = class_of(size)
        if not self._waiting[number]:
            self._paid[number] = max(self._paid[number], self._time)
        self._waiting[number][item] = size

    def discard(self, item: T, size: int) -> None:
        """Leave the queue without a turn; costs nothing."""
        self._waiting[class_of(size)].pop(item, None)

    def take(self, classes: Collection[int] = CLASSES) -> T | None:
        """The next request of these classes; None if there is none."""
        able = [number for number in classes if self._waiting[number]]
        if not able:
            return None
        number = min(able, key=self._paid.__getitem__)
        item, size = self._waiting[number].popitem(last=False)
        self._time = max(self._time, self._paid[number])
        self._paid[number] += cost_of(size)
        return item


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
        limit: how many may be in flight at once.
        in_flight: how many have begun and not ended.
    """

    def __init__(self, limit: AdaptiveLimit) -> None:
        self.limit = limit
        self.in_flight = 0
        self._shadows = 0
        self._long_ones = 0
        self._waiting = tuple(_WaitingTickets() for _ in Priority)
        self._advised_until = 0.0
        self._paused_until = 0.0

    @property
    def waiting(self) -> int:
        """How many have not begun."""
        return sum(map(len, self._waiting))

    def held_for(self, now: float) -> float:
        """Seconds for which those who have a place must not send yet; 0 if they may."""
        return max(0.0, self._advised_until - now, self._paused_until - now)

    def ask(self, ticket: Ticket) -> None:
        """Queue up for a place; `begin` gives it."""
        self._waiting[ticket.priority].join(ticket)

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
            self._waiting[ticket.priority].leave(ticket)

    def succeeded(self, ticket: Ticket) -> None:
        """What this place was for went well. So no pause is needed, unless the server itself named a time."""
        self._paused_until = 0.0
        self.limit.succeeded(ticket.generation, in_full=self.in_flight >= self.limit.current)

    def refused(self, ticket: Ticket, *, until: float, advised: bool) -> None:
        """The server refused this one because it is asked too much; `advised`: and named the time `until`."""
        self.limit.refused(ticket.generation)
        if advised:
            self._advised_until = max(self._advised_until, until)
        else:
            self._paused_until = max(self._paused_until, until)

    def _next(self) -> Ticket | None:
        if self.in_flight >= self.limit.current:
            return None
        users, shadows = self._waiting
        if users:
            return self._first_of(users)
        if shadows and self._shadows < max(1, self.limit.current // 2):
            return self._first_of(shadows)
        return None

    def _first_of(self, tickets: _WaitingTickets) -> Ticket | None:
        limit = self.limit.current
        long_ones_fit = self._long_ones < limit - limit // 4
        return tickets.first(
            classes=CLASSES if long_ones_fit else CLASSES[:LONGEST], in_flight=self.in_flight, limit=limit
        )

    def _count(self, ticket: Ticket, change: int) -> None:
        self.in_flight += change
        self._shadows += change if ticket.priority is Priority.SHADOW else 0
        self._long_ones += change if class_of(ticket.size) == LONGEST else 0


class _WaitingTickets:
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

    def first(self, *, classes: Collection[int], in_flight: int, limit: int) -> Ticket | None:
        """Take the next request of these classes. None overtakes one that waits for fewer to be in flight."""
        ticket = next(iter(self._refused[max(self._refused)])) if self._refused else None
        if ticket is None or class_of(ticket.size) not in classes:
            return self._fresh.take(classes)
        if in_flight >= max(1, limit >> ticket.refusals):
            return None
        self.leave(ticket)
        return ticket
