"""Finds the new implementation when it is first needed, and not before."""

from __future__ import annotations

import importlib
import inspect
import time
from collections.abc import Callable, Coroutine, Mapping
from operator import attrgetter
from typing import Any, Generic, ParamSpec, TypeVar

from migration.model.errors import CandidateUnavailableError
from migration.model.model import Outcome, Side

P = ParamSpec("P")
R = TypeVar("R")

RETRY_SECONDS = 30.0
"""After a failed import calls are spared another one for so long: it can be slow, and is the caller's time."""


class Candidate(Generic[P, R]):
    """The new implementation, imported on first use; a failed import is tried again after a while."""

    def __init__(self, target: str | Callable[..., Any], *, now: Callable[[], float] = time.monotonic) -> None:
        self._name = target if isinstance(target, str) else f"{target.__module__}:{target.__qualname__}"
        self._target = target
        self._function: Callable[P, Coroutine[Any, Any, R]] | None = None
        self._now = now
        self._failure: CandidateUnavailableError | None = None
        self._retry_at = 0.0

    def __str__(self) -> str:
        return self._name

    @property
    def loaded(self) -> bool:
        """Whether starting it costs no import."""
        return self._function is not None

    def load(self) -> None:
        """Import it.

        Raises:
            CandidateUnavailableError: it cannot be imported, or is no coroutine function.
        """
        if self._function is not None:
            return
        if self._failure is not None and self._now() < self._retry_at:
            raise CandidateUnavailableError(self._name, self._failure.reason)
        try:
            function = _import(self._target) if isinstance(self._target, str) else self._target
            if not inspect.iscoroutinefunction(function):
                raise TypeError("not a coroutine function")  # noqa: TRY301  # one place makes the error
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a module may even end the process (`sys.exit`) when imported
            self._failure = CandidateUnavailableError(self._name, error)
            self._retry_at = self._now() + RETRY_SECONDS
            raise self._failure from error
        self._function = function

    def start(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Make the coroutine, of which nothing has run yet.

        Raises:
            CandidateUnavailableError: it cannot be imported, or does not take these arguments.
        """
        self.load()
        assert self._function is not None  # noqa: S101  # what `load` is for
        try:
            return self._function(*args, **kwargs)
        except TypeError as error:  # the arguments do not fit; a coroutine function's body has not begun
            raise CandidateUnavailableError(self._name, error) from error


def _import(target: str) -> Any:
    module, _, attribute = target.partition(":")
    return attrgetter(attribute)(importlib.import_module(module))


# How a side is run: an outcome comes back, and only what is meant for the whole process is raised.


def run_legacy(legacy: Callable[..., R], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Outcome[R]:
    """Run legacy on this thread."""
    start = time.perf_counter()
    try:
        value = legacy(*args, **kwargs)
    except Exception as error:  # noqa: BLE001  # an outcome, raised again by whoever unwraps it
        return Outcome(side=Side.LEGACY, seconds=time.perf_counter() - start, error=error)
    return Outcome(side=Side.LEGACY, seconds=time.perf_counter() - start, value=value)


async def run_candidate(candidate: Candidate[..., R], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Outcome[R]:
    """Run the candidate on the running loop."""
    start = time.perf_counter()
    try:
        value = await candidate.start(*args, **kwargs)
    except Exception as error:  # noqa: BLE001  # an outcome, raised again by whoever unwraps it
        return Outcome(side=Side.CANDIDATE, seconds=time.perf_counter() - start, error=error)
    return Outcome(side=Side.CANDIDATE, seconds=time.perf_counter() - start, value=value)
