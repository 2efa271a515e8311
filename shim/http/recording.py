"""The HTTP requests of one call and their answers, recorded on demand.

Noting is off unless `noting()` is open in the current context, so an ordinary call pays one context variable look-up.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from typing import Protocol, TypeVar

from migration.running.propagation import current, is_attributed
from shim.http.attempts import note_begin


class RequestObservation(Protocol):
    """One HTTP request in flight."""

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


# The HTTP requests of one call and their answers, recorded on demand.

T = TypeVar("T")

MAX_ANSWER_BYTES = 256 * 1024
"""A longer answer is not kept; its exchange is marked as truncated."""

SHARED = "another upload of the same content was in flight, and its file serves this one, too"
"""Why a call that sent nothing itself is not compared."""

UNFOLLOWED = "meanwhile a request was sent from a thread that belongs to no call, and it may have been this one's"
"""Why a call is not compared that may speak from threads of which the recording knows nothing."""

MAX_EXCHANGES = 200
"""More exchanges than this in one call are not kept; the log is marked as overflown."""


@dataclass(slots=True, kw_only=True)
class Exchange:
    """One request and its answer.

    Attributes:
        method: HTTP method, or the name of a storage operation.
        url: where it went, with its query.
        status: HTTP status of the answer; None when there was none.
        headers: the answer's headers that a client acts upon.
        body: the answer's body.
        truncated: the body was longer than `MAX_ANSWER_BYTES`.
        listener: told whenever more of the answer is known.
    """

    method: str
    url: str
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)
    truncated: bool = False
    listener: Callable[[Exchange], None] | None = field(default=None, repr=False, compare=False)

    def add_body(self, piece: bytes) -> None:
        """Keep another piece of the answer, up to the bound."""
        if len(self.body) + len(piece) > MAX_ANSWER_BYTES:
            self.truncated = True
        else:
            self.body += piece
        if self.listener is not None:
            self.listener(self)


@dataclass(slots=True)
class ExchangeLog:
    """The exchanges of one call, in the order in which they began; `listener` hears of each answer as it arrives.

    Attributes:
        overflown: there were more exchanges than are kept.
        shared: another upload of the same content sent the file for this one.
        unfollowed: meanwhile a request was sent from a thread that belongs to no call, and it may have been this one's.
        concerns: whether a request (method and address) can be one of this call at all.
    """

    exchanges: list[Exchange] = field(default_factory=list)
    overflown: bool = False
    shared: bool = False
    unfollowed: bool = False
    listener: Callable[[Exchange], None] | None = None
    concerns: Callable[[str, str], bool] = lambda _method, _url: True

    def add(self, exchange: Exchange) -> None:
        """Append, up to the bound; heard of are all."""
        exchange.listener = self.listener
        if len(self.exchanges) >= MAX_EXCHANGES:
            self.overflown = True
        else:
            self.exchanges.append(exchange)


_log: ContextVar[ExchangeLog | None] = ContextVar("exchange_log", default=None)
_open: list[ExchangeLog] = []
"""The logs that are open in any context."""


def current_log() -> ExchangeLog | None:
    """The log that is open in this context, if one is."""
    return current(_log)


def begun_exchange(method: str, url: str) -> Exchange | None:
    """A request begins: its exchange in the log of this context, if one is open.

    One that belongs to no call, as of a thread that was begun earlier and is fed by a queue, may be any call's: the
    open logs that it can concern are marked.
    """
    log = current_log()
    if log is not None:
        exchange = Exchange(method=method, url=url)
        log.add(exchange)
        return exchange
    if _open and not is_attributed():
        for other in _open:
            other.unfollowed = other.unfollowed or other.concerns(method, url)
    return None


def note_shared() -> None:
    """Another upload of the same content has sent the file."""
    log = current_log()
    if log is not None:
        log.shared = True


@contextmanager
def noting(log: ExchangeLog | None) -> Iterator[None]:
    """Note every exchange of this context in `log`; None switches noting off."""
    token = _log.set(log)
    if log is not None:
        _open.append(log)
    try:
        yield
    finally:
        if log is not None:
            _open[:] = [each for each in _open if each is not log]
        _log.reset(token)


ANSWER_HEADERS = frozenset(
    {"content-type", "content-encoding", "retry-after", "retry-after-ms", "x-should-retry", "content-range", "location"}
)
"""Headers of an answer that the clients act upon, and that a replay must therefore repeat."""


def answer_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of an answer worth keeping, names in lower case."""
    return {name.lower(): value for name, value in headers.items() if name.lower() in ANSWER_HEADERS}


class OperationNote:
    """Where an operation that is no HTTP request says what it answered."""

    def __init__(self, exchange: Exchange | None) -> None:
        self._exchange = exchange

    def answered(self, result: T) -> T:
        """It answered this: plain data, or a dataclass of such."""
        if self._exchange is not None:
            self._exchange.status = HTTPStatus.OK
            self._exchange.add_body(json.dumps(result, default=asdict).encode())
        return result


@contextmanager
def noted_operation(service: str, operation: str, path: str) -> Iterator[OperationNote]:
    """Note an operation of a service that is not reached over HTTP as if it were, for a replay to repeat."""
    note_begin(method=operation, url=f"{service}:{path}")
    log = current_log()
    exchange = None if log is None else Exchange(method=operation, url=f"{service}:{path}")
    if log is not None and exchange is not None:
        log.add(exchange)
    try:
        yield OperationNote(exchange)
    except Exception as error:
        if exchange is not None:
            exchange.status = HTTPStatus.INTERNAL_SERVER_ERROR
            exchange.add_body(json.dumps(str(error)).encode())
        raise


# The observer of HTTP requests in this process; none unless an application sets one.

_logger = logging.getLogger(__name__)


class _Unobserved:
    """A request without an observer."""

    def finished(self, *, status: int | None, error: BaseException | None) -> None:
        """Do nothing."""


class _NoObserver:
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


_NO_OBSERVER = _NoObserver()
_watcher: HttpObserver = _NO_OBSERVER
_unobserved: ContextVar[bool] = ContextVar("unobserved", default=False)


def watch(observer: HttpObserver | None) -> None:
    """Let `observer` see the wire of this process from now on; None ends it. What it raises hurts no request."""
    global _watcher  # noqa: PLW0603  # one process, one wire
    _watcher = _NO_OBSERVER if observer is None else _Contained(observer)


def observer() -> HttpObserver:
    """The observer of this context's requests."""
    return _NO_OBSERVER if current(_unobserved) else _watcher


@contextmanager
def unobserved() -> Iterator[None]:
    """Keep this context's requests from the observer: a replay is no traffic."""
    token = _unobserved.set(True)
    try:
        yield
    finally:
        _unobserved.reset(token)
