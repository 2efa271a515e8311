"""The policy of the throttle, driven through every order of events."""

from __future__ import annotations

import hypothesis.stateful as hs
import pytest
from hypothesis import strategies as st

from tools.engine.limiter import LONGEST, AdaptiveLimit, Limiter, Priority, Ticket, class_of
from tools.settings import MEGABYTE

SIZES = st.sampled_from([1, 20_000, MEGABYTE, 9 * MEGABYTE, 100 * MEGABYTE])


class Policy(hs.RuleBasedStateMachine):
    """Whatever is asked, ended, given up, refused: the rules hold after every step."""

    def __init__(self) -> None:
        super().__init__()
        self.limiter = Limiter(AdaptiveLimit(ceiling=1))
        self.waiting: list[Ticket] = []
        self.inside: list[Ticket] = []

    @hs.initialize(ceiling=st.integers(1, 12), first=st.integers(1, 12))
    def open(self, ceiling: int, first: int) -> None:
        self.limiter = Limiter(AdaptiveLimit(ceiling=ceiling, first=first))

    @hs.rule(
        size=SIZES, priority=st.sampled_from(Priority), count=st.integers(1, 5), refusals=st.sampled_from([0, 0, 1, 2])
    )
    def ask(self, size: int, priority: Priority, count: int, refusals: int) -> None:
        for _ in range(count):
            ticket = Ticket(size=size, priority=priority, refusals=refusals)
            self.waiting.append(ticket)
            self.limiter.ask(ticket)
            self.let_in()

    @hs.precondition(lambda self: self.inside)
    @hs.rule(data=st.data(), outcome=st.sampled_from(["success", "refused", "advised", "neither"]))
    def end(self, data: st.DataObject, outcome: str) -> None:
        ticket = self.inside.pop(data.draw(st.integers(0, len(self.inside) - 1)))
        if outcome == "success":
            self.limiter.succeeded(ticket)
        elif outcome != "neither":
            self.limiter.refused(ticket, until=1.0, advised=outcome == "advised")
        self.limiter.end(ticket)
        self.limiter.end(ticket)  # twice does no harm
        self.let_in()

    @hs.precondition(lambda self: self.waiting)
    @hs.rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        ticket = self.waiting.pop(data.draw(st.integers(0, len(self.waiting) - 1)))
        self.limiter.end(ticket)
        self.let_in()

    def let_in(self) -> None:
        for ticket in self.limiter.begin():
            users_waiting = [one for one in self.waiting if one.priority is Priority.USER]
            first_of_its_kind = next(one for one in self.waiting if _kind(one) == _kind(ticket))
            assert ticket is first_of_its_kind, "overtaken within its class"
            assert len(self.inside) < self.share(ticket)
            self.waiting.remove(ticket)
            self.inside.append(ticket)
            assert len(self.inside) <= self.limiter.limit.current
            if ticket.priority is Priority.SHADOW:
                assert not users_waiting
                assert self.count(priority=Priority.SHADOW) <= max(1, self.limiter.limit.current // 2)
            if class_of(ticket.size) == LONGEST:
                assert self.count(long=True) <= self.room_for_long()

    @hs.invariant()
    def counts_are_right(self) -> None:
        assert self.limiter.in_flight == len(self.inside)
        assert self.limiter.waiting == len(self.waiting)

    @hs.invariant()
    def nobody_waits_without_a_reason(self) -> None:
        if len(self.inside) >= self.limiter.limit.current:
            return
        users = [ticket for ticket in self.waiting if ticket.priority is Priority.USER]
        shadows = [ticket for ticket in self.waiting if ticket.priority is Priority.SHADOW]
        no_long_ones = self.count(long=True) >= self.room_for_long()
        for waiting in (users, shadows if not users else []):
            if waiting is shadows and self.count(priority=Priority.SHADOW) >= max(1, self.limiter.limit.current // 2):
                continue
            refused = max(waiting, key=lambda ticket: ticket.refusals, default=None)
            if refused is not None and refused.refusals and len(self.inside) >= self.share(refused):
                continue
            assert no_long_ones or not waiting
            assert all(class_of(ticket.size) == LONGEST for ticket in waiting if not ticket.refusals)

    def count(self, *, priority: Priority | None = None, long: bool = False) -> int:
        return sum(
            (priority is None or ticket.priority is priority) and (not long or class_of(ticket.size) == LONGEST)
            for ticket in self.inside
        )

    def share(self, ticket: Ticket) -> int:
        """How many may be in flight, this one among them."""
        return max(1, self.limiter.limit.current >> ticket.refusals)

    def room_for_long(self) -> int:
        return self.limiter.limit.current - self.limiter.limit.current // 4


def _kind(ticket: Ticket) -> tuple[Priority, int]:
    """Who is served by order of arrival: those of one class, and those who were refused before."""
    return ticket.priority, -ticket.refusals or class_of(ticket.size)


TestPolicy = Policy.TestCase


def _inside(limiter: Limiter) -> Ticket:
    ticket = Ticket(size=1)
    limiter.ask(ticket)
    assert list(limiter.begin()) == [ticket]
    return ticket


def test_long_uploads_leave_a_quarter_to_the_others() -> None:
    """Short ones need not wait for the end of a long one; where the limit is below four there is nothing to leave."""
    limiter = Limiter(AdaptiveLimit(ceiling=8))
    long_ones = [Ticket(size=100 * MEGABYTE) for _ in range(8)]
    for ticket in long_ones:
        limiter.ask(ticket)
    assert list(limiter.begin()) == long_ones[:6]
    short = Ticket(size=1)
    limiter.ask(short)
    assert list(limiter.begin()) == [short]
    narrow = Limiter(AdaptiveLimit(ceiling=3))
    for ticket in long_ones[:3]:
        narrow.ask(ticket)
    assert list(narrow.begin()) == long_ones[:3]


def test_who_was_refused_comes_first_and_among_fewer() -> None:
    """Others do not fill the places that it needs to be free; so it is never starved."""
    limiter = Limiter(AdaptiveLimit(ceiling=8))
    fresh = [Ticket(size=1) for _ in range(20)]
    for ticket in fresh:
        limiter.ask(ticket)
    assert list(limiter.begin()) == fresh[:8]
    again, once = Ticket(size=1, refusals=2), Ticket(size=1, refusals=1)
    limiter.ask(once)
    limiter.ask(again)
    for ticket in fresh[:6]:
        limiter.end(ticket)
        assert list(limiter.begin()) == []
    limiter.end(fresh[6])
    assert list(limiter.begin()) == [again, once, *fresh[8:13]]


@pytest.mark.parametrize("advised", [True, False])
def test_after_a_refusal_everybody_is_held_back(*, advised: bool) -> None:
    """Until the time that was named; the later one of several counts."""
    limiter = Limiter(AdaptiveLimit(ceiling=8))
    ticket = _inside(limiter)
    assert limiter.held_for(100.0) == 0.0
    limiter.refused(ticket, until=103.0, advised=advised)
    limiter.refused(ticket, until=102.0, advised=advised)
    assert limiter.held_for(100.0) == 3.0
    assert limiter.held_for(103.0) == 0.0


def test_a_success_ends_a_pause_but_not_one_that_the_server_asked_for() -> None:
    """Who answers well is not overloaded any more, unless it said for how long it is."""
    limiter = Limiter(AdaptiveLimit(ceiling=8))
    ticket = _inside(limiter)
    limiter.refused(ticket, until=105.0, advised=False)
    limiter.succeeded(ticket)
    assert limiter.held_for(100.0) == 0.0
    limiter.refused(ticket, until=105.0, advised=True)
    limiter.succeeded(ticket)
    assert limiter.held_for(100.0) == 5.0
