"""Finds the new implementation when it is first needed, and not before."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Coroutine
from operator import attrgetter
from typing import Any, Generic, ParamSpec, TypeVar

from migration._errors import CandidateUnavailableError

P = ParamSpec("P")
R = TypeVar("R")


class Candidate(Generic[P, R]):
    """The new implementation, imported on first use; a failed import is tried again at the next call."""

    def __init__(self, target: str | Callable[..., Any]) -> None:
        self._name = target if isinstance(target, str) else f"{target.__module__}:{target.__qualname__}"
        self._target = target
        self._function: Callable[P, Coroutine[Any, Any, R]] | None = None

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
        try:
            function = _import(self._target) if isinstance(self._target, str) else self._target
            if not inspect.iscoroutinefunction(function):
                raise TypeError("not a coroutine function")  # noqa: TRY301  # one place makes the error
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a module may even end the process (`sys.exit`) when imported
            raise CandidateUnavailableError(self._name, error) from error
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
