"""A small world in which things are made, and how its live shadows are marked, read back and undone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from migration import Call, Side
from migration.model import SideEffects, TrialRefusedError

_mark: ContextVar[str] = ContextVar("mark", default="")


@dataclass(slots=True)
class Shelf:
    """Keeps things by name; in a trial the names are marked."""

    things: dict[str, object] = field(default_factory=dict)

    def put(self, name: str, thing: object) -> str:
        self.things[_mark.get() + name] = thing
        return _mark.get() + name


@dataclass(slots=True, kw_only=True)
class ShelfLive:
    """Implements `Live` for functions that put things on a shelf.

    Attributes:
        seconds: what a trial may take.
        refused: why there must be no trial.
        unreadable: what cannot be read back.
        stale: whether the input is said to have changed.
        stuck: things that cannot be removed.
    """

    shelf: Shelf
    seconds: float = 10.0
    refused: str | None = None
    unreadable: tuple[str, ...] = ()
    stale: bool = False
    stuck: bool = False
    trials: int = 0

    @contextmanager
    def record(self, call: Call) -> Iterator[ShelfRecording]:
        before = set(self.shelf.things)
        recording = ShelfRecording(self, call)
        yield recording
        recording.made = {name: thing for name, thing in self.shelf.things.items() if name not in before}


@dataclass(slots=True)
class ShelfRecording:
    live: ShelfLive
    call: Call
    made: dict[str, object] = field(default_factory=dict)

    def refusal(self) -> str | None:
        return None

    def size(self) -> int:
        return 7

    def stale(self) -> bool:
        return self.live.stale

    @asynccontextmanager
    async def trial(self, side: Side) -> AsyncIterator[ShelfTrial]:
        if self.live.refused is not None:
            raise TrialRefusedError(self.live.refused)
        self.live.trials += 1
        trial = ShelfTrial(self, side, mark=f"shadow-{self.live.trials}-", seconds=self.live.seconds)
        token = _mark.set(trial.mark)
        try:
            yield trial
        finally:
            _mark.reset(token)
            trial.undo()


class ShelfTrial:
    def __init__(self, recording: ShelfRecording, side: Side, *, mark: str, seconds: float) -> None:
        self.args: tuple[Any, ...] = recording.call.args
        self.kwargs: Mapping[str, Any] = recording.call.kwargs
        self.seconds = seconds
        self.mark = mark
        self.side = side
        self._recording = recording
        self._kept = False
        self._left: list[str] = []

    async def read_back(self) -> SideEffects:
        return SideEffects(
            primary=self._recording.made,
            other={name.removeprefix(self.mark): thing for name, thing in self._own().items()},
            not_compared=self._recording.live.unreadable,
        )

    def plain(self, side: Side, facts: Mapping[str, object]) -> Mapping[str, object]:
        del side
        return {
            name: value.removeprefix(self.mark) if isinstance(value, str) else value for name, value in facts.items()
        }

    def keep(self) -> None:
        self._kept = True

    def troubles(self) -> Sequence[str]:
        return self._left

    def undo(self) -> None:
        if self._kept:
            return
        if self._recording.live.stuck:
            self._left.append("it could not be removed")
            return
        for name in self._own():
            del self._recording.live.shelf.things[name]

    def _own(self) -> dict[str, object]:
        things = self._recording.live.shelf.things
        return {name: thing for name, thing in things.items() if name.startswith(self.mark)}
