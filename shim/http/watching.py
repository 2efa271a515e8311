"""Who watches the wire in this process: nobody, unless the composition root says so."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from shim.http.port import HttpObserver, RequestObservation

T = TypeVar("T")
_logger = logging.getLogger(__name__)


class _Unobserved:
    """A request that nobody watches."""

    def finished(self, *, status: int | None, error: BaseException | None) -> None:
        """Say it to nobody."""


class _Nobody:
    """An observer that looks away."""

    def request_started(self, *, method: str, url: str) -> RequestObservation:  # noqa: ARG002  # the port's signature
        """See nothing."""
        return _Unobserved()

    def pool_limit(self, *, connections: int) -> None:
        """See nothing."""

    def pool_waited(self, *, seconds: float) -> None:
        """See nothing."""

    def pool_in_use(self, *, change: int) -> None:
        """See nothing."""


class _Contained:
    """An observer whose failures end here: who watches a request must not be able to hurt it."""

    def __init__(self, observer: HttpObserver) -> None:
        self._observer = observer
        self._failed = False

    def request_started(self, *, method: str, url: str) -> RequestObservation:
        """Pass it on."""
        observation = self.contain(lambda: self._observer.request_started(method=method, url=url))
        return _Unobserved() if observation is None else _ContainedRequest(self, observation)

    def pool_limit(self, *, connections: int) -> None:
        """Pass it on."""
        self.contain(lambda: self._observer.pool_limit(connections=connections))

    def pool_waited(self, *, seconds: float) -> None:
        """Pass it on."""
        self.contain(lambda: self._observer.pool_waited(seconds=seconds))

    def pool_in_use(self, *, change: int) -> None:
        """Pass it on."""
        self.contain(lambda: self._observer.pool_in_use(change=change))

    def contain(self, action: Callable[[], T]) -> T | None:
        """What `action` returns; None when it fails. The first failure is logged."""
        try:
            return action()
        except Exception:
            if not self._failed:
                self._failed = True
                _logger.exception("the observer of the wire failed; requests are unaffected; this is said once")
            return None


class _ContainedRequest:
    """A request that a contained observer watches."""

    def __init__(self, contained: _Contained, observation: RequestObservation) -> None:
        self._contained = contained
        self._observation = observation

    def finished(self, *, status: int | None, error: BaseException | None) -> None:
        """Pass it on."""
        self._contained.contain(lambda: self._observation.finished(status=status, error=error))


_NOBODY = _Nobody()
_watcher: HttpObserver = _NOBODY
_hidden: ContextVar[bool] = ContextVar("wire_hidden", default=False)


def watch(observer: HttpObserver | None) -> None:
    """Let `observer` see the wire of this process from now on; None ends it. What it raises hurts no request."""
    global _watcher  # noqa: PLW0603  # one process, one wire
    _watcher = _NOBODY if observer is None else _Contained(observer)


def observer() -> HttpObserver:
    """The observer of this context's requests."""
    return _NOBODY if _hidden.get() else _watcher


@contextmanager
def hidden() -> Iterator[None]:
    """Keep this context's requests from the observer: a rehearsal is no traffic."""
    token = _hidden.set(True)
    try:
        yield
    finally:
        _hidden.reset(token)
