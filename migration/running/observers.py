"""Tells the observers what happens, and keeps their failures from the call."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from contextvars import copy_context
from types import TracebackType
from typing import Any, cast

from migration.forking import new_lock
from migration.model.model import Comparison, Notice, Operation
from migration.model.ports import Observer, Recording
from migration.running.propagation import FollowedRun, following

_logger = logging.getLogger("migration")

MAX_DIFFERENT_NOTICES = 1000
"""Messages that are counted one by one; further ones are counted by kind."""

_MILESTONES = frozenset(10**power for power in range(19))


class Observers:
    """All observers as one that never raises. `failures` counts what they raised, by observer and exception type."""

    def __init__(self, observers: Iterable[Observer] = ()) -> None:
        self._observers = tuple(observers)
        self.failures: Counter[str] = Counter()
        self._notices: Counter[str] = Counter()
        self._counting = new_lock()

    def operation(self, operation: Operation) -> AbstractContextManager[None]:
        """Surround an operation with every observer."""
        return _Observed(self, operation)

    def compared(self, comparison: Comparison) -> None:
        """Tell every observer of a comparison."""
        for observer in self._observers:
            self.contain(observer, observer.compared, comparison)

    def noticed(self, notice: Notice) -> None:
        """Tell every observer of a message for operators; it is logged the 1st, 10th, 100th, ... time."""
        times = self._count(notice)
        if times in _MILESTONES:
            _logger.warning("%s: %s%s", notice.migration, notice.text, f" ({times} times)" if times > 1 else "")
        for observer in self._observers:
            self.contain(observer, observer.noticed, notice)

    def contain(self, observer: object, action: Callable[..., object], *args: object) -> bool:
        """Do `action(*args)` on behalf of `observer`; count and log what it raises. True when it went well."""
        try:
            action(*args)
        except Exception as error:  # noqa: BLE001  # an observer may fail in any way
            self.failed(observer, error)
            return False
        return True

    def failed(self, observer: object, error: Exception) -> None:
        """Count what an observer raised, and log it the first time."""
        failure = f"{type(observer).__name__}: {type(error).__name__}"
        self.failures[failure] += 1
        if self.failures[failure] == 1:
            _logger.warning("an observer failed (%s); calls are unaffected, further failures are counted", failure)

    def _count(self, notice: Notice) -> int:
        """How often this message has come; beyond `MAX_DIFFERENT_NOTICES`, how often its kind."""
        with self._counting:
            known = notice.text in self._notices or len(self._notices) < MAX_DIFFERENT_NOTICES
            key = notice.text if known else notice.kind
            self._notices[key] += 1
            return self._notices[key]

    def __iter__(self) -> Iterator[Observer]:
        return iter(self._observers)


class _Observed:
    """One operation inside all observers' managers, left in reverse order."""

    __slots__ = ("_entered", "_observers", "_operation")

    def __init__(self, observers: Observers, operation: Operation) -> None:
        self._observers = observers
        self._operation = operation
        self._entered: list[tuple[Observer, AbstractContextManager[object]]] = []

    def __enter__(self) -> None:
        for observer in self._observers:
            try:
                manager = observer.operation(self._operation)
                manager.__enter__()
            except Exception as error:  # noqa: BLE001  # as in `contain`, without its cost
                self._observers.failed(observer, error)
            else:
                self._entered.append((observer, manager))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for observer, manager in reversed(self._entered):
            try:
                manager.__exit__(kind, error, trace)
            except Exception as own:  # noqa: BLE001  # as above
                self._observers.failed(observer, own)


class ContainedRecording:
    """A recording whose failure costs the comparison, not the call."""

    def __init__(self, observers: Observers, make: Callable[[], AbstractContextManager[Recording]]) -> None:
        self._observers = observers
        self._make = make
        self._entered = ExitStack()
        self._recording: FollowedRecording | None = None

    def __enter__(self) -> Recording | None:
        self._observers.contain(self, self._enter)
        return self._recording

    def _enter(self) -> None:
        before = copy_context()
        recording = self._entered.enter_context(self._make())
        self._recording = FollowedRecording(recording, self._entered.enter_context(following(before)))

    def __exit__(self, *error: object) -> None:
        if self._recording is not None:
            self._recording.end()
        self._observers.contain(self, cast("Callable[..., object]", self._entered.__exit__), *error)


class FollowedRecording:
    """A recording of a run, and whether everything has ended that began in it. What else it can do is the recording's.

    Args:
        recording: what was recorded.
        run: the recorded run.
    """

    def __init__(self, recording: Recording, run: FollowedRun) -> None:
        self._recording = recording
        self._run = run
        self._left: str | None = None

    def end(self) -> None:
        """The primary run has ended: what is left of it belongs to it no more."""
        self._left = self._run.left()
        self._run.released = True

    def refusal(self) -> str | None:
        """Why this call cannot be run again, or None if it can."""
        if self._left is not None:
            return f"{self._left} was still running when the call had ended, so not all that it did is known"
        return self._recording.refusal()

    def size(self) -> int:
        """Bytes of the input."""
        return self._recording.size()

    def stale(self) -> bool:
        """Whether the input has changed since the primary ran."""
        return self._recording.stale()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._recording, name)
