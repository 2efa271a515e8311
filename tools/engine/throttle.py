"""Limits how many uploads run at once.

Policy and waiting list are behind one lock, which is held for microseconds and never across an `await`.

Each provider has two rate limiters:

- `places` surrounds a whole upload: reading, copy, provider, row. It is as wide as the configuration says and bounds
  memory, open files and connections, whatever the provider does.
- `requests` surrounds one request to the provider. Its width is an adaptive limit (`tools.engine.limiter`), and it is
  closed while the provider asks for a pause (`Retry-After`).

So an upload that waits before it tries again blocks no other, and copies are made while the provider is busy. Throttles
belong to the process, not to an event loop: providers count per account, and live trials look on another loop.
A replay asks no provider, so it passes freely.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Self

from shim.http.egress import is_confined
from shim.primitives import new_lock
from tools.engine.limiter import AdaptiveLimit, Limiter, Priority, Ticket
from tools.providers.spec import Provider
from tools.settings import get_settings
from tools.transport.loops import SYSTEM_CLOCK, Clock, PerLoop


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimiterStatus:
    """A rate limiter at one moment.

    Attributes:
        limit: how many may be inside at once.
        ceiling: the highest that the limit can become.
        inside: how many are.
        waiting: how many are not yet.
        held_seconds: how long those inside must still hold back because the server refused a request.
    """

    limit: int
    ceiling: int
    inside: int
    waiting: int
    held_seconds: float


@dataclass(slots=True)
class _Waiter:
    """A task that waits for a place, on whatever loop that is."""

    loop: asyncio.AbstractEventLoop
    called: asyncio.Future[None] = field(init=False)

    def __post_init__(self) -> None:
        self.called = self.loop.create_future()

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
        if not self.called.done():
            self.called.set_result(None)


class RateLimiter:
    """Lets in as many as its policy allows."""

    def __init__(self, limiter: Limiter) -> None:
        self._limiter = limiter
        self._waiters: dict[Ticket, _Waiter] = {}
        self._lock = threading.RLock()  # the collector may end an abandoned coroutine, and with it its place, anywhere

    def place(
        self, size: int, priority: Priority = Priority.USER, *, refusals: int = 0, clock: Clock = SYSTEM_CLOCK
    ) -> Place:
        """A place for so many bytes that were refused so often before, to be entered with `async with`."""
        return Place(self, Ticket(size=size, priority=priority, refusals=refusals), clock)

    def status(self, *, now: float) -> RateLimiterStatus:
        """The figures at a time of the clock. From any thread."""
        with self._lock:
            return RateLimiterStatus(
                limit=self._limiter.limit.current,
                ceiling=self._limiter.limit.ceiling,
                inside=self._limiter.in_flight,
                waiting=self._limiter.waiting,
                held_seconds=self._limiter.held_for(now),
            )

    async def enter(self, ticket: Ticket) -> None:
        """Wait for a turn. One that is cancelled meanwhile has neither a place nor a claim to one."""
        with self._lock:
            self._limiter.ask(ticket)
            self._let_in()
            if ticket.begun:
                return
            waiter = self._waiters[ticket] = _Waiter(asyncio.get_running_loop())
        try:
            await waiter.called
        except BaseException:
            self.leave(ticket)
            raise

    def leave(self, ticket: Ticket) -> None:
        """Give a place, or the claim to one, to others."""
        with self._lock:
            self._waiters.pop(ticket, None)
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
            waiter = self._waiters.pop(ticket, None)
            if waiter is not None and not waiter.call():
                self._limiter.end(ticket)


class Place:
    """One place of a rate limiter. Entering waits for a turn, and then for as long as all have to hold back."""

    __slots__ = ("_clock", "_limiter", "_ticket")

    def __init__(self, limiter: RateLimiter, ticket: Ticket, clock: Clock) -> None:
        self._limiter = limiter
        self._ticket = ticket
        self._clock = clock

    async def __aenter__(self) -> Self:
        await self._limiter.enter(self._ticket)
        try:
            while (seconds := self._limiter.held_for(self._clock.now())) > 0:
                await self._clock.sleep(seconds)
        except BaseException:
            self._limiter.leave(self._ticket)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._limiter.leave(self._ticket)

    def succeeded(self) -> None:
        """Say that the request went well."""
        self._limiter.succeeded(self._ticket)

    def refused(self, seconds: float, *, advised: bool) -> None:
        """Say that the server refused, and for how long to pause; `advised`: it named that time itself."""
        self._limiter.refused(self._ticket, until=self._clock.now() + seconds, advised=advised)


MAX_THROTTLES = 16
"""There is one a provider; other addresses or widths (in tests) make further ones, and the idle ones make room."""

LONGEST_HOLD_SECONDS = 60.0
"""The longest pause that a provider's own advice (`Retry-After`) leads to: its limits are counted by the minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ThrottleStatus:
    """A provider's rate limiters at one moment.

    Attributes:
        provider: whose it is.
        places: uploads as a whole.
        requests: requests to the provider; its `limit` is the one that adapts.
    """

    provider: str
    places: RateLimiterStatus
    requests: RateLimiterStatus


class _ProviderThrottle:
    def __init__(self, width: int) -> None:
        self.places = RateLimiter(Limiter(AdaptiveLimit(ceiling=width, first=width)))
        self.requests = RateLimiter(Limiter(AdaptiveLimit(ceiling=width)))

    @property
    def idle(self) -> bool:
        limiters = (self.places.status(now=0.0), self.requests.status(now=0.0))
        return not any(limiter.inside or limiter.waiting for limiter in limiters)

    def status(self, provider: str, *, now: float) -> ThrottleStatus:
        return ThrottleStatus(
            provider=provider, places=self.places.status(now=now), requests=self.requests.status(now=now)
        )


_throttles: dict[tuple[str, str, int], _ProviderThrottle] = {}
_lock = new_lock()
_priority: ContextVar[Priority] = ContextVar("upload_priority", default=Priority.USER)
_semaphores: PerLoop[dict[int, asyncio.Semaphore]] = PerLoop()


def upload_place(provider: Provider, size: int) -> Place:
    """A place for a whole upload of so many bytes, to be entered with `async with`."""
    return _throttle_of(provider).places.place(size, _priority.get())


def request_place(provider: Provider, size: int, *, refusals: int = 0, clock: Clock = SYSTEM_CLOCK) -> Place:
    """A place for one request that uploads so many bytes to a provider, to be entered with `async with`.

    `refusals`: how often the provider refused the same before because it was asked too much.
    """
    return _throttle_of(provider).requests.place(size, _priority.get(), refusals=refusals, clock=clock)


@contextmanager
def uploads_as(priority: Priority) -> Iterator[None]:
    """Say on whose behalf the uploads of this context are made; otherwise on the users'."""
    token = _priority.set(priority)
    try:
        yield
    finally:
        _priority.reset(token)


def snapshot() -> tuple[ThrottleStatus, ...]:
    """What is limited in this process at this moment. From any thread."""
    with _lock:
        throttles = tuple(_throttles.items())
    now = SYSTEM_CLOCK.now()
    return tuple(throttle.status(provider, now=now) for (provider, _, _), throttle in throttles)


def forget_throttles() -> None:
    """Begin with nothing known of any provider: for a test, and for a process that was forked."""
    _throttles.clear()


os.register_at_fork(after_in_child=forget_throttles)


async def get_upload_semaphore(max_concurrent: int | None = None) -> asyncio.Semaphore:
    """A throttle that lets `max_concurrent` run at once on the running loop, whatever they do.

    Everyone who asks for the same number on the same loop shares one. None means the configured `upload_concurrency`.
    The gateways have their own, which knows the providers.

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


def _throttle_of(provider: Provider) -> _ProviderThrottle:
    settings = get_settings()
    width = settings.upload_concurrency
    if is_confined():
        return _ProviderThrottle(width)
    key = (provider.name, provider.files_address(settings), width)
    with _lock:
        throttle = _throttles.get(key)
        if throttle is None:
            if len(_throttles) >= MAX_THROTTLES:
                _forget_idle_throttles()
            throttle = _throttles[key] = _ProviderThrottle(width)
        return throttle


def _forget_idle_throttles() -> None:
    for key, throttle in tuple(_throttles.items()):
        if throttle.idle:
            del _throttles[key]
