"""The candidate: imported on first use, run on the background loop or on a thread that may be blocked."""

from __future__ import annotations

import asyncio
import functools
import importlib
import inspect
import time
from collections.abc import Callable, Coroutine, Mapping
from operator import attrgetter
from typing import Any, Generic, ParamSpec, TypeVar

from migration.forking import unforked
from migration.model.errors import (
    CandidateCancelledError,
    CandidateUnavailableError,
    MigrationError,
)
from migration.model.model import Outcome, Side
from migration.running.loop import BackgroundLoop
from migration.running.propagation import in_thread

P = ParamSpec("P")
R = TypeVar("R")

RETRY_SECONDS = 30.0
"""After a failed import it is not tried again for so long: it can be slow, and takes the caller's time."""


class Candidate(Generic[P, R]):
    """The candidate, imported on first use; a failed import is tried again after `RETRY_SECONDS`."""

    def __init__(self, target: str | Callable[..., Any], *, now: Callable[[], float] = time.monotonic) -> None:
        self._name = target if isinstance(target, str) else f"{target.__module__}:{target.__qualname__}"
        self._target = target
        self._function: Callable[P, Any] | None = None
        self._awaited = True
        self._now = now
        self._failure: CandidateUnavailableError | None = None
        self._retry_at = 0.0

    def __str__(self) -> str:
        return self._name

    @property
    def loaded(self) -> bool:
        """Whether it runs without an import."""
        return self._function is not None

    @property
    def blocks(self) -> bool:
        """Whether it is no coroutine function: it runs on a thread that may be blocked. Known once it is loaded."""
        return not self._awaited

    def load(self) -> None:
        """Import it.

        Raises:
            CandidateUnavailableError: it cannot be imported, or is no function of which one result can be had.
        """
        if self._function is not None:
            return
        if self._failure is not None and self._now() < self._retry_at:
            raise CandidateUnavailableError(self._name, self._failure.reason)
        try:
            function = _import(self._target) if isinstance(self._target, str) else self._target
            self._awaited = inspect.iscoroutinefunction(function)
            if not self._awaited and (yields := _why_not_one_result(function)):
                raise TypeError(yields)  # noqa: TRY301  # one place makes the error
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a module may even end the process (`sys.exit`) when imported
            self._failure = CandidateUnavailableError(self._name, error)
            self._retry_at = self._now() + RETRY_SECONDS
            raise self._failure from error
        self._function = function

    def start(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Make the coroutine, of which nothing has run yet; of a blocking candidate, one that runs it in a thread.

        Raises:
            CandidateUnavailableError: it cannot be imported, or does not take these arguments.
        """
        function = self._taking(args, kwargs)
        if self.blocks:
            return in_thread(functools.partial(function, *args, **kwargs))
        try:
            return function(*args, **kwargs)  # type: ignore[no-any-return]  # a coroutine function
        except TypeError as error:  # the arguments do not fit; a coroutine function's body has not begun
            raise CandidateUnavailableError(self._name, error) from error

    async def run(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Outcome[R]:
        """Run it on the running loop. An exception is an outcome; only what ends a task or the process is raised."""
        start = time.perf_counter()
        try:
            value = await self.start(*args, **kwargs)
        except Exception as error:  # noqa: BLE001  # an outcome, raised again for the caller by `Outcome.unwrap`
            return Outcome(side=Side.CANDIDATE, seconds=time.perf_counter() - start, error=error)
        return Outcome(side=Side.CANDIDATE, seconds=time.perf_counter() - start, value=value)

    def run_here(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Outcome[R]:
        """Run one that blocks on this thread, as legacy runs."""
        start = time.perf_counter()
        try:
            value = self._taking(args, kwargs)(*args, **kwargs)
        except Exception as error:  # noqa: BLE001  # as above
            return Outcome(side=Side.CANDIDATE, seconds=time.perf_counter() - start, error=error)
        return Outcome(side=Side.CANDIDATE, seconds=time.perf_counter() - start, value=value)

    def run_blocking(
        self, loop: BackgroundLoop, migration: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Outcome[R]:
        """Run it for a caller that blocks: on `loop`, or on this thread if it blocks as well.

        What did not run, or was cut off, is an outcome; only what is meant for the whole process is raised.
        """
        start = time.perf_counter()
        try:
            self.load()
            return self.run_here(args, kwargs) if self.blocks else loop.run(lambda: self.run(args, kwargs))
        except asyncio.CancelledError:
            return _not_run(start, CandidateCancelledError(migration))
        except MigrationError as error:
            return _not_run(start, error)

    async def run_awaited(
        self, loop: BackgroundLoop, migration: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, here: bool
    ) -> Outcome[R]:
        """Run it for a caller that awaits: on `loop`, or `here`, on the running one. A cancelled caller's is raised."""
        start = time.perf_counter()
        try:
            if not self.loaded:
                await in_thread(self.load)
            if self.blocks or here:
                return await self.run(args, kwargs)
            return await loop.run_async(lambda: self.run(args, kwargs))
        except asyncio.CancelledError:
            if is_being_cancelled():
                raise
            return _not_run(start, CandidateCancelledError(migration))
        except MigrationError as error:
            return _not_run(start, error)

    def _taking(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Callable[..., Any]:
        """The function; of a blocking one it is known before it runs that it takes these arguments."""
        self.load()
        assert self._function is not None  # noqa: S101  # what `load` is for
        if self.blocks:
            try:
                inspect.signature(self._function).bind(*args, **kwargs)
            except TypeError as error:
                raise CandidateUnavailableError(self._name, error) from error
        return self._function


def _why_not_one_result(function: object) -> str | None:
    """Why calling `function` does not give one result; None if it does."""
    if not callable(function):
        return f"a value of type {type(function).__name__} cannot be called"
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        return "it yields its values one by one"
    return None


def _import(target: str) -> Any:
    module, _, attribute = target.partition(":")
    with unforked():  # a child would wait for the rest of the import for ever
        return attrgetter(attribute)(importlib.import_module(module))


def _not_run(start: float, error: MigrationError) -> Outcome[Any]:
    return Outcome(side=Side.CANDIDATE, seconds=time.perf_counter() - start, error=error)


def is_being_cancelled() -> bool:
    """Whether this task is cancelled from outside; a candidate can also cancel itself, which is how it failed."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
