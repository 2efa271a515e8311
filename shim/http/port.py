"""What the edge asks of whoever watches its HTTP requests and its connection pool."""

from __future__ import annotations

from typing import Protocol


class RequestObservation(Protocol):
    """One HTTP request under way."""

    def finished(self, *, status: int | None, error: BaseException | None) -> None:
        """The answer's head has arrived (`status`), or the request failed (`error`)."""
        ...


class HttpObserver(Protocol):
    """Sees HTTP requests of both implementations, and the pool of the asynchronous one."""

    def request_started(self, *, method: str, url: str) -> RequestObservation:
        """A request begins. `url` carries no query and no credentials."""
        ...

    def pool_limit(self, *, connections: int) -> None:
        """The pool holds at most this many connections."""
        ...

    def pool_waited(self, *, seconds: float) -> None:
        """A request waited this long for a connection."""
        ...

    def pool_in_use(self, *, change: int) -> None:
        """The number of connections in use rose or fell by `change`."""
        ...
