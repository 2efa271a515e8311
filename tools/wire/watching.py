"""Who watches the wire in this process: nobody, unless the composition root says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from tools.wire.port import HttpObserver, RequestObservation


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


_NOBODY = _Nobody()
_watcher: HttpObserver = _NOBODY
_hidden: ContextVar[bool] = ContextVar("wire_hidden", default=False)


def watch(observer: HttpObserver | None) -> None:
    """Let `observer` see the wire of this process from now on; None ends it."""
    global _watcher  # noqa: PLW0603  # one process, one wire
    _watcher = observer or _NOBODY


def observer() -> HttpObserver:
    """Whoever watches in this context."""
    return _NOBODY if _hidden.get() else _watcher


@contextmanager
def hidden() -> Iterator[None]:
    """Keep this context's requests from the observer: a rehearsal is no traffic."""
    token = _hidden.set(True)
    try:
        yield
    finally:
        _hidden.reset(token)
