"""Notes who answered each call and what each comparison said."""

from __future__ import annotations

import io
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from migration import Comparison, Side
from migration.model import Notice, Operation, Role
from tools.demo.results import Answer, BigUpload, Compared, Flip, Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A call that was answered; `began` and `ended` are readings of the watcher's clock."""

    side: Side
    began: float
    ended: float
    seconds: float
    trace: str | None


class Watcher:
    """An observer that keeps what it saw until it is taken."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._lock = threading.Lock()
        self._served: list[Served] = []
        self._compared: list[Compared] = []

    @contextmanager
    def operation(self, operation: Operation) -> Iterator[None]:
        """Note the call when it was answered, as `migration.Observer` asks for."""
        began = self.clock()
        yield
        outcome = operation.outcome
        if operation.side is not None or operation.role is not Role.PRIMARY or outcome is None:
            return
        served = Served(
            side=outcome.side, began=began, ended=self.clock(), seconds=outcome.seconds, trace=operation.trace
        )
        with self._lock:
            self._served.append(served)

    def compared(self, comparison: Comparison) -> None:
        """Note a comparison."""
        call = comparison.call
        compared = Compared(
            migration=call.migration,
            verdict=comparison.verdict,
            size=int(call.attributes.get("file.size", 0)),
            differences=comparison.differences,
            detail=comparison.detail,
            primary=comparison.decision.serve,
            primary_seconds=comparison.primary_seconds,
            shadow_seconds=comparison.shadow_seconds,
        )
        with self._lock:
            self._compared.append(compared)

    def noticed(self, notice: Notice) -> None:
        """Messages for operators are the ledger's business."""

    def served(self) -> list[Served]:
        """The calls so far."""
        with self._lock:
            return list(self._served)

    def take_served(self) -> list[Served]:
        """The calls so far, which are then forgotten."""
        with self._lock:
            taken, self._served = self._served, []
        return taken

    def take_compared(self) -> list[Compared]:
        """The comparisons so far, which are then forgotten."""
        with self._lock:
            taken, self._compared = self._compared, []
        return taken


# The spans of one call, picked from the lines that telemetry prints for a human.

_KEPT_LINES = 5000
_OF_WHOLE_CALL = " reason="  # only the span of the call as a whole, which ends last, carries the decision


class TraceLines(io.StringIO):
    """Takes the place of a terminal; keeps the last lines that were printed."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)

    def write(self, text: str) -> int:
        """Keep a printed line."""
        self._lines.append(text)
        return len(text)

    def of_trace(self, traceparent: str | None) -> list[str]:
        """The lines of one trace, in the order in which the spans began, without the id that they all have."""
        if traceparent is None:
            return []
        mark = f" trace={traceparent.split('-')[1]}"
        return [line.replace(mark, "").rstrip() for line in sorted(self._lines.copy()) if mark in line]

    def is_complete(self, traceparent: str | None) -> bool:
        """Whether all spans of the trace have been printed."""
        return any(_OF_WHOLE_CALL in line for line in self.of_trace(traceparent))


# Who shows the demonstration while it runs.


class Reporter(Protocol):
    """Is told what happens as it happens."""

    def began(self, what: str, total: int | None = None) -> None:
        """Something begins that takes `total` steps."""
        ...

    def advanced(self) -> None:
        """One step of it is done."""
        ...

    def answered(self, answer: Answer) -> None:
        """The unchanged caller has answered a question."""
        ...

    def uploaded_big(self, upload: BigUpload) -> None:
        """The large file was uploaded."""
        ...

    def compared(self, comparisons: Sequence[Compared]) -> None:
        """Sampled calls were compared."""
        ...

    def staged(self, stage: Stage) -> None:
        """A stage is over."""
        ...

    def traced(self, lines: Sequence[str]) -> None:
        """The spans of one call, in the order in which they began."""
        ...

    def flipped(self, flip: Flip) -> None:
        """The flags were turned off, and legacy serves again."""
        ...
