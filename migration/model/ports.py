"""What the core asks of the outside: someone who decides, someone who watches, a way to rehearse."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from migration.model.model import Call, Comparison, Decision, Notice, Operation, Side

Sent = Sequence[Mapping[str, object]]
"""What a side sent, in order, as plain data without contents or credentials."""


class Router(Protocol):
    """Decides who serves a call."""

    def decide(self, call: Call) -> Decision:
        """Decide for this call. May raise: the core then serves legacy and says so."""
        ...


class Observer(Protocol):
    """Sees what happens. It can never slow, fail or change a call: the core contains it."""

    def operation(self, operation: Operation) -> AbstractContextManager[object]:
        """Surround an operation; `operation.outcome` is set when the manager exits."""
        ...

    def compared(self, comparison: Comparison) -> None:
        """Take note of a comparison."""
        ...

    def noticed(self, notice: Notice) -> None:
        """Take note of a message for operators."""
        ...


class AtEnd(AbstractContextManager[None]):
    """What `Observer.operation` returns where only the end matters; a generator would cost each call three times more.

    Args:
        ended: told of the operation when it has ended.
        operation: what is surrounded.
    """

    __slots__ = ("_ended", "_operation")

    def __init__(self, ended: Callable[[Operation], None], operation: Operation) -> None:
        self._ended = ended
        self._operation = operation

    def __enter__(self) -> None:
        """Nothing is known before the end."""

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            self._ended(self._operation)


class Rehearsal(Protocol):
    """A stand-in world in which one side can run in full and has no effect."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def seen(self) -> Sent:
        """What the side sent."""
        ...


class Recording(Protocol):
    """What was noted of the primary run."""

    def refusal(self) -> str | None:
        """Why this call cannot be run again (`unanswered`, ...), or None if it can."""
        ...

    def size(self) -> int:
        """Bytes of the input, which every further run reads once. On the caller's path: cheap."""
        ...

    def stale(self) -> bool:
        """Whether the input has changed since the primary ran."""
        ...


class ReplayRecording(Recording, Protocol):
    """What was noted of the primary run, enough to answer a rehearsal as the primary was."""

    def rehearse(self, side: Side) -> AbstractAsyncContextManager[Rehearsal]:
        """Open a world for `side`, answering what the primary was answered."""
        ...


class Replay(Protocol):
    """How the shadow of a migration runs without creating anything."""

    def record(self, call: Call) -> AbstractContextManager[ReplayRecording]:
        """Surround the primary run and note its exchanges. On the caller's path: cheap."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SideEffects:
    """What a call has made, read back from where it was made, as plain data without contents and credentials.

    Attributes:
        primary: by the primary run.
        other: by the run of the other side; what has to differ (ids, marked names) is written alike in both.
        not_compared: what could not be read back, in words.
    """

    primary: Mapping[str, object]
    other: Mapping[str, object]
    not_compared: tuple[str, ...] = ()


class Trial(Protocol):
    """One real run of the other side, marked so that what it makes can be told from what the primary made.

    Attributes:
        args, kwargs: the arguments of the run.
        seconds: how long the run and reading back may take together.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    seconds: float

    async def read_back(self) -> SideEffects:
        """What both sides have made, and whether the primary's is as it was before the trial."""
        ...

    def plain(self, side: Side, facts: Mapping[str, object]) -> Mapping[str, object]:
        """The facts of a side's outcome without what has to differ: ids of what it made, marks in names."""
        ...

    def keep(self) -> None:
        """Leave what was made where it is when the trial ends."""
        ...

    def troubles(self) -> Sequence[str]:
        """What could not be undone, in sentences for operators; complete once the trial has been left."""
        ...


class LiveRecording(Recording, Protocol):
    """What was noted of the primary run, enough to know what it made."""

    def trial(self, side: Side) -> AbstractAsyncContextManager[Trial]:
        """Prepare a real run of `side`; on leaving, what it made is removed, unless it is to be kept.

        Raises:
            TrialRefusedError: there must be none; nothing has been made.
        """
        ...


class Live(Protocol):
    """How the other side of a migration is really run, compared by reading back, and undone."""

    def record(self, call: Call) -> AbstractContextManager[LiveRecording]:
        """Surround the primary run and note its exchanges. On the caller's path: cheap."""
        ...
