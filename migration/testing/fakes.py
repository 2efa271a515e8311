"""Small, real implementations of the ports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from migration.model.model import Call, Comparison, Decision, Notice, Operation, Reason, Side


@dataclass(slots=True)
class FixedRouter:
    """Decides every call the same way; change `serve` and `shadow` to flip it."""

    serve: Side = Side.LEGACY
    shadow: bool = False
    asked: int = 0

    def decide(self, call: Call) -> Decision:  # noqa: ARG002  # the same for every call
        """The fixed decision."""
        self.asked += 1
        return Decision(
            serve=self.serve,
            shadow=self.shadow,
            probability=float(self.serve is Side.CANDIDATE),
            shadow_probability=float(self.shadow),
            reason=Reason.STATIC,
            source="fixed",
        )


@dataclass(slots=True)
class RecordingObserver:
    """Keeps everything it sees, operations in the order in which they ended."""

    operations: list[Operation] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)

    @contextmanager
    def operation(self, operation: Operation) -> Iterator[None]:
        """Keep the operation as it ended."""
        try:
            yield
        finally:
            self.operations.append(replace(operation))

    def compared(self, comparison: Comparison) -> None:
        """Keep the comparison."""
        self.comparisons.append(comparison)

    def noticed(self, notice: Notice) -> None:
        """Keep the notice."""
        self.notices.append(notice)

    def served(self) -> list[Side]:
        """The side that answered each call, in order."""
        return [done.outcome.side for done in self.operations if done.side is None and done.outcome is not None]
