"""What OpenTelemetry is told about HTTP requests and the connection pool."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from opentelemetry.trace import Span, SpanKind, StatusCode

from observability.handle import TelemetryHandle
from observability.names import OTHER, Attribute

if TYPE_CHECKING:
    from observability.instruments import Labels
    from observability.pipeline import Pipeline

_METHODS: Final = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_FIRST_ERROR_STATUS: Final = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """Where a request goes: what may be shown of its URL."""

    address: str
    port: int | None
    url: str


@lru_cache(maxsize=256)
def _target(url: str) -> _Target:
    """Take a URL apart and leave out what may be secret: user, password, query, fragment."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return _Target(address=OTHER, port=None, url=OTHER)
    host = parts.hostname or OTHER
    shown_host = f"[{host}]" if ":" in host else host
    netloc = shown_host if port is None else f"{shown_host}:{port}"
    return _Target(
        address=host, port=port or _DEFAULT_PORTS.get(parts.scheme), url=f"{parts.scheme}://{netloc}{parts.path}"
    )


class HttpTelemetry:
    """Makes a client span of each HTTP request, and measures requests and the pool."""

    def __init__(self, handle: TelemetryHandle) -> None:
        self._handle = handle

    def request_started(self, *, method: str, url: str) -> ObservedRequest:
        """Begin to observe a request, as a child of the current span."""
        return ObservedRequest(self._handle.pipeline, method, _target(url))

    def pool_limit(self, *, connections: int) -> None:
        """Take note of how many connections the pool may hold."""
        self._handle.pipeline.instruments.pool.set_limit(connections)

    def pool_waited(self, *, seconds: float) -> None:
        """Take note of how long a request waited for a connection."""
        self._handle.pipeline.instruments.pool_wait.record(seconds)

    def pool_in_use(self, *, change: int) -> None:
        """Take note that more or fewer connections are in use."""
        self._handle.pipeline.instruments.pool.add(change)


class ObservedRequest:
    """One HTTP request in flight. Its span is never the current one: it may end on another thread."""

    __slots__ = ("_labels", "_pipeline", "_span", "_started")

    def __init__(self, pipeline: Pipeline, method: str, target: _Target) -> None:
        self._pipeline = pipeline
        method = method if method in _METHODS else OTHER
        self._labels = _labels(pipeline, method, target)
        attributes: Labels = {
            Attribute.HTTP_METHOD: method,
            Attribute.SERVER_ADDRESS: target.address,
            Attribute.URL_FULL: target.url,
        }
        if target.port is not None:
            attributes[Attribute.SERVER_PORT] = target.port
        self._span: Span | None = pipeline.tracer.start_span(
            "HTTP" if method == OTHER else method, kind=SpanKind.CLIENT, attributes=attributes
        )
        self._started = time.perf_counter()

    def finished(self, *, status: int | None, error: BaseException | None) -> None:
        """Take note of how the request ended. Only the first call counts."""
        span, self._span = self._span, None
        if span is None:
            return
        seconds = time.perf_counter() - self._started
        result: Labels = {}
        if status is not None and self._pipeline.instruments.bounds.status(str(status)) != OTHER:
            result[Attribute.HTTP_STATUS] = status
        error_type = self._error_type(status, error)
        if error_type is not None:
            result[Attribute.ERROR_TYPE] = error_type
            span.set_status(StatusCode.ERROR)
        span.set_attributes(result)
        span.end()
        self._pipeline.instruments.http_duration.record(seconds, {**self._labels, **result})

    def _error_type(self, status: int | None, error: BaseException | None) -> str | None:
        """Return the exception's type, else the status if it is one of failure, as the conventions say."""
        bounds = self._pipeline.instruments.bounds
        if error is not None:
            return bounds.error_type(type(error).__name__)
        return bounds.status(str(status)) if status is not None and status >= _FIRST_ERROR_STATUS else None


def _labels(pipeline: Pipeline, method: str, target: _Target) -> Labels:
    labels: Labels = {Attribute.HTTP_METHOD: method}
    server = f"{target.address}:{target.port}"
    if pipeline.instruments.bounds.server(server) == OTHER:
        labels[Attribute.SERVER_ADDRESS] = OTHER
        return labels
    labels[Attribute.SERVER_ADDRESS] = target.address
    if target.port is not None:
        labels[Attribute.SERVER_PORT] = target.port
    return labels
