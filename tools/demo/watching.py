"""Notes who answered each call and what each comparison said."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from migration import Comparison, Notice, Operation, Role, Side
from tools.demo.results import Compared


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
