"""What the core asks of the outside: someone who decides, someone who watches, a way to rehearse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, Protocol

from migration._model import Call, Comparison, Decision, Notice, Operation, Side


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


class Rehearsal(Protocol):
    """A stand-in world in which one side can run in full and has no effect."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def seen(self) -> Sequence[Mapping[str, object]]:
        """What the side sent, in order, as plain data without contents or credentials."""
        ...


class Witness(Protocol):
    """What was noted of the primary run, enough to answer a rehearsal as the primary was."""

    def refusal(self) -> str | None:
        """Why this call cannot be rehearsed (`unanswered`, ...), or None if it can."""
        ...

    def stale(self) -> bool:
        """Whether the input has changed since the primary ran."""
        ...

    def rehearse(self, side: Side) -> AbstractAsyncContextManager[Rehearsal]:
        """Open a world for `side`, answering what the primary was answered."""
        ...


class Replay(Protocol):
    """How the shadow of a migration runs without creating anything."""

    def witness(self, call: Call) -> AbstractContextManager[Witness]:
        """Surround the primary run and note its exchanges. On the caller's path: cheap."""
        ...
