"""A small world with an effect, and its replay: a service that both sides of a migration send to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from migration import Call, Side

_noted: ContextVar[list[Mapping[str, object]] | None] = ContextVar("noted", default=None)


@dataclass(slots=True)
class Outbox:
    """Delivers what it is sent; in a rehearsal it only notes it."""

    delivered: list[Mapping[str, object]] = field(default_factory=list)

    def send(self, **request: object) -> None:
        noted = _noted.get()
        (self.delivered if noted is None else noted).append(request)


def rehearsing() -> bool:
    """Whether the caller runs in a rehearsal."""
    return _noted.get() is not None


@dataclass(slots=True, kw_only=True)
class OutboxReplay:
    """Rehearses any function that sends to an outbox.

    Attributes:
        refusal: why no call can be rehearsed.
        size: bytes that each call is said to have.
        stale: asked before and after the rehearsals.
    """

    refusal: str | None = None
    size: Callable[[], int] = lambda: 0
    stale: Callable[[], bool] = lambda: False
    open_worlds: int = 0

    @contextmanager
    def record(self, call: Call) -> Iterator[OutboxRecording]:
        yield OutboxRecording(self, call)


@dataclass(slots=True)
class OutboxRecording:
    replay: OutboxReplay
    call: Call

    def refusal(self) -> str | None:
        return self.replay.refusal

    def size(self) -> int:
        return self.replay.size()

    def stale(self) -> bool:
        return self.replay.stale()

    @asynccontextmanager
    async def rehearse(self, side: Side) -> AsyncIterator[OutboxRehearsal]:  # noqa: ARG002  # both see the same world
        noted: list[Mapping[str, object]] = []
        token = _noted.set(noted)
        self.replay.open_worlds += 1
        try:
            yield OutboxRehearsal(self.call.args, self.call.kwargs, noted)
        finally:
            self.replay.open_worlds -= 1
            _noted.reset(token)


@dataclass(slots=True)
class OutboxRehearsal:
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    noted: list[Mapping[str, object]]

    def seen(self) -> Sequence[Mapping[str, object]]:
        return self.noted
