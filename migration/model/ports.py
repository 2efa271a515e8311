"""The ports: what decides, what observes, and how a call is run again or for real to be compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from migration.model.model import Call, Comparison, Decision, Notice, Operation, Side

Sent = Sequence[Mapping[str, object]]
"""The requests that a side sent, in order, as plain data without contents or credentials."""


class Router(Protocol):
    """Decides which side serves a call."""

    def decide(self, call: Call) -> Decision:
        """Decide for this call. If it raises, legacy serves and the decision says so."""
        ...


class Observer(Protocol):
    """Sees what happens. What it raises is counted and never reaches a call."""

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
    """An environment in which one side runs in full and without effect."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def seen(self) -> Sent:
        """The requests that the side sent."""
        ...


class Recording(Protocol):
    """What was recorded of the primary run."""

    def refusal(self) -> str | None:
        """Why this call cannot be run again, or None if it can."""
        ...

    def size(self) -> int:
        """Bytes of the input, which every further run reads once. Called on the caller's path: cheap."""
        ...

    def stale(self) -> bool:
        """Whether the input has changed since the primary ran."""
        ...


class ReplayRecording(Recording, Protocol):
    """A recording that can answer a replay as the primary run was answered."""

    def rehearse(self, side: Side) -> AbstractAsyncContextManager[Rehearsal]:
        """Open an environment for `side` that answers what the primary run was answered."""
        ...


class Replay(Protocol):
    """How both sides of a call run again without effect."""

    def record(self, call: Call) -> AbstractContextManager[ReplayRecording]:
        """Surround the primary run and record it. Called on the caller's path: cheap."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SideEffects:
    """What the two runs of a call have created, read back, as plain data without contents and credentials.

    Attributes:
        primary: by the primary run.
        other: by the shadow; what has to differ (ids, marked names) is written alike in both.
        not_compared: what could not be read back, in words.
    """

    primary: Mapping[str, object]
    other: Mapping[str, object]
    not_compared: tuple[str, ...] = ()


class Trial(Protocol):
    """One live shadow, marked so that what it creates can be told from what the primary run created.

    Attributes:
        args, kwargs: the arguments of the run.
        seconds: how long the run and reading back may take together.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    seconds: float

    async def read_back(self) -> SideEffects:
        """What both runs have created, and whether the primary's is as it was before the trial."""
        ...

    def plain(self, side: Side, facts: Mapping[str, object]) -> Mapping[str, object]:
        """The facts of a side's outcome without what has to differ: ids of what it created, marks in names."""
        ...

    def keep(self) -> None:
        """Do not remove what the shadow created when the trial ends."""
        ...

    def troubles(self) -> Sequence[str]:
        """What could not be undone, in sentences for operators; complete after the trial was left."""
        ...


class LiveRecording(Recording, Protocol):
    """A recording that knows what the primary run created."""

    def trial(self, side: Side) -> AbstractAsyncContextManager[Trial]:
        """Prepare a live shadow on `side`; on leaving, what it created is removed, unless `Trial.keep` was called.

        Raises:
            TrialRefusedError: there must be none; nothing was created.
        """
        ...


class Live(Protocol):
    """How a shadow really runs, is compared by reading back, and is undone."""

    def record(self, call: Call) -> AbstractContextManager[LiveRecording]:
        """Surround the primary run and record it. Called on the caller's path: cheap."""
        ...
