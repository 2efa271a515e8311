"""Passes what happens on to the observers, and keeps their failures from the call."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from types import TracebackType

from migration._model import Comparison, Notice, Operation
from migration._ports import Observer

_logger = logging.getLogger("migration")


class Observers:
    """All observers as one that never raises. `failures` counts what they raised, by observer and exception type."""

    def __init__(self, observers: Iterable[Observer] = ()) -> None:
        self._observers = tuple(observers)
        self.failures: Counter[str] = Counter()

    def operation(self, operation: Operation) -> AbstractContextManager[None]:
        """Surround an operation with every observer."""
        return _Observed(self, operation)

    def compared(self, comparison: Comparison) -> None:
        """Tell every observer of a comparison."""
        for observer in self._observers:
            self.contain(observer, observer.compared, comparison)

    def noticed(self, notice: Notice) -> None:
        """Tell every observer, and the log, of a message for operators."""
        _logger.warning("%s: %s", notice.migration, notice.text)
        for observer in self._observers:
            self.contain(observer, observer.noticed, notice)

    def contain(self, observer: object, action: Callable[..., object], *args: object) -> bool:
        """Do `action(*args)` on behalf of `observer`; count and log what it raises. True when it went well."""
        try:
            action(*args)
        except Exception as error:  # noqa: BLE001  # an observer may fail in any way and must not hurt the call
            failure = f"{type(observer).__name__}: {type(error).__name__}"
            self.failures[failure] += 1
            if self.failures[failure] == 1:
                _logger.warning("an observer failed (%s); calls are unaffected, further failures are counted", failure)
            return False
        return True

    def __iter__(self) -> Iterator[Observer]:
        return iter(self._observers)


class _Observed(AbstractContextManager[None]):
    """One operation inside all observers' managers, left in reverse order."""

    def __init__(self, observers: Observers, operation: Operation) -> None:
        self._observers = observers
        self._operation = operation
        self._entered: list[tuple[Observer, AbstractContextManager[object]]] = []

    def __enter__(self) -> None:
        for observer in self._observers:
            self._observers.contain(observer, self._enter, observer)

    def _enter(self, observer: Observer) -> None:
        manager = observer.operation(self._operation)
        manager.__enter__()
        self._entered.append((observer, manager))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for observer, manager in reversed(self._entered):
            self._observers.contain(observer, manager.__exit__, kind, error, trace)
