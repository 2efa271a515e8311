"""What OpenTelemetry is told about migrated calls, HTTP requests and the connection pool."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from types import TracebackType
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from opentelemetry import context as otel_context
from opentelemetry._logs import SeverityNumber
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, StatusCode, set_span_in_context

from migration import Comparison, Side
from migration.model import MISMATCHES, NOT_COMPARED, Notice, Operation, Role, Verdict
from migration.store import symptoms
from observability.handle import TelemetryHandle
from observability.instruments import Labels
from observability.names import (
    OTHER,
    SIDE,
    SIDES,
    Attribute,
    Event,
    call_attributes,
    fact_attributes,
    flag_attributes,
    run_attributes,
    to_context,
    to_links,
    to_traceparent,
)

if TYPE_CHECKING:
    from contextvars import Token

    from observability.instruments import Labels
    from observability.pipeline import Pipeline

# read once, as in `_attributes`
_EVALUATION: Final = Event.FLAG_EVALUATION.value
_ERROR_KIND: Final = Attribute.ERROR_KIND.value
_ERROR_TYPE: Final = Attribute.ERROR_TYPE.value
_FILE_SIZE: Final = Attribute.FILE_SIZE.value
_SHADOW: Final = Role.SHADOW


class ObservedOperation:
    """Surrounds an operation with a span that is the current one meanwhile, and measures runs of a side."""

    __slots__ = ("_facts", "_labels", "_operation", "_pipeline", "_span", "_started", "_token")

    def __init__(self, pipeline: Pipeline, operation: Operation) -> None:
        self._pipeline = pipeline
        self._operation = operation
        self._facts = fact_attributes(operation.call)
        self._labels: Labels = {}
        self._span: Span
        self._started: float
        self._token: Token[Context]

    def __enter__(self) -> None:
        self._started = time.perf_counter()
        outside = otel_context.get_current()
        self._span = self._start_span(outside)
        self._operation.trace = to_traceparent(self._span.get_span_context())
        inside = set_span_in_context(self._span, outside)
        if self._operation.side is None:
            self._emit_evaluation(inside)
        else:
            self._count_in(self._operation.side)
        self._token = otel_context.attach(inside)  # last: what fails before it leaves the caller's context alone

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        error_type = self._error_type(kind)
        try:
            if self._operation.side is None:
                self._measure_call()
            else:
                self._measure_run(error_type)
        finally:
            otel_context.detach(self._token)
            self._end_span(error_type)

    # the span

    def _start_span(self, outside: Context) -> Span:
        operation = self._operation
        name, side = operation.call.migration, operation.side
        if side is not None:
            name = f"{name} {SIDES[side]}"
        attributes = self._span_attributes() if self._pipeline.records_spans else None
        tracer = self._pipeline.tracer
        if operation.role is _SHADOW:
            return tracer.start_span(name, context=Context(), attributes=attributes, links=to_links(operation.link))
        return tracer.start_span(name, context=outside, attributes=attributes)

    def _span_attributes(self) -> dict[str, str | int]:
        operation, side = self._operation, self._operation.side
        if side is not None:
            return self._facts | run_attributes(side, operation.role)
        decision = operation.decision
        return self._facts | run_attributes(decision.serve, operation.role) | call_attributes(operation.call, decision)

    def _end_span(self, error_type: str | None) -> None:
        outcome = self._operation.outcome
        if self._span.is_recording():
            if outcome is not None and outcome.side is not (self._operation.side or self._operation.decision.serve):
                self._span.set_attribute(SIDE, SIDES[outcome.side])  # after a fallback
            if error_type is not None:
                self._span.set_status(StatusCode.ERROR)
                self._span.set_attributes(self._failure(error_type))
                location = outcome.error_location() if outcome else None
                if location:
                    self._span.set_attribute(Attribute.ERROR_LOCATION, location)
        self._span.end()

    def _error_type(self, raised: type[BaseException] | None) -> str | None:
        """Return the type of the failure, if it is one: the outcome says so, or an interrupt that left none."""
        outcome = self._operation.outcome
        name = outcome.error_type if outcome else (raised.__name__ if raised else None)
        return None if name is None else self._pipeline.instruments.bounds.error_type(name)

    def _failure(self, error_type: str) -> dict[str, str]:
        outcome = self._operation.outcome
        kind = None if outcome is None else outcome.error_kind
        failure = {_ERROR_TYPE: error_type}
        return failure if kind is None else {**failure, _ERROR_KIND: kind.value}

    # measurements and events

    def _emit_evaluation(self, inside: Context) -> None:
        logger = self._pipeline.logger
        if logger.enabled(event_name=_EVALUATION):
            attributes = flag_attributes(self._operation.call, self._operation.decision)
            logger.emit(event_name=_EVALUATION, context=inside, attributes=attributes)

    def _count_in(self, side: Side) -> None:
        instruments, operation = self._pipeline.instruments, self._operation
        self._labels = instruments.run_labels(operation.call.migration, self._facts, side, operation.role)
        instruments.active.add(1, self._labels)

    def _measure_run(self, error_type: str | None) -> None:
        instruments, outcome = self._pipeline.instruments, self._operation.outcome
        instruments.active.add(-1, self._labels)
        seconds = outcome.seconds if outcome else time.perf_counter() - self._started
        labels = self._labels if error_type is None else {**self._labels, **self._failure(error_type)}
        instruments.operation_duration.record(seconds, labels)

    def _measure_call(self) -> None:
        self._pipeline.instruments.decided(self._operation.call.migration, self._operation.decision)
        size = self._facts.get(_FILE_SIZE)
        if isinstance(size, int):
            instruments = self._pipeline.instruments
            instruments.file_size.record(size, instruments.call_labels(self._operation.call.migration, self._facts))


# What OpenTelemetry is told about migrated calls.

_MAX_FIELDS: Final = 20


class Telemetry:
    """A `migration.Observer` that makes spans, metrics and log events of what it sees.

    A call is a span named after its migration. The runs of its sides are children of it; a shadow run is a trace of
    its own, linked to its primary. Messages of exceptions are never recorded: they may quote names and contents.

    What it costs a call with one run, measured on two shared cores, exporters apart: 28 µs with Prometheus and no
    receiver of spans, 65 µs with everything recorded; nearly all of it is the SDK's.
    """

    def __init__(self, handle: TelemetryHandle) -> None:
        self._handle = handle

    def operation(self, operation: Operation) -> AbstractContextManager[object]:
        """Surround an operation with a span, and measure it."""
        pipeline = self._handle.pipeline
        return ObservedOperation(pipeline, operation) if pipeline.enabled else nullcontext()

    def compared(self, comparison: Comparison) -> None:
        """Count a verdict, and the fields that differ; what needs a look is also a log event, which names them.

        The event is sent for every such comparison, whichever traces the sampler keeps, and carries both trace ids.
        """
        pipeline = self._handle.pipeline
        bounds = pipeline.instruments.bounds
        labels: Labels = {
            Attribute.MIGRATION: bounds.migration(comparison.call.migration),
            Attribute.VERDICT: str(comparison.verdict),
        }
        pipeline.instruments.comparisons.add(1, labels)
        if comparison.verdict not in NOT_COMPARED:
            for field in {symptom.field for symptom in symptoms(comparison.verdict, comparison.differences)}:
                pipeline.instruments.differences.add(1, {**labels, Attribute.DIFFERENT_FIELD: bounds.field(field)})
        if comparison.verdict not in {*MISMATCHES, Verdict.STALE_INPUT}:
            return
        fields = [difference.field for difference in comparison.differences]
        pipeline.logger.emit(
            event_name=Event.SHADOW_COMPARED,
            severity_number=SeverityNumber.WARN,
            context=to_context(comparison.shadow_trace or comparison.primary_trace),
            attributes={**labels, **_traces(comparison), Attribute.DIFFERENT_FIELDS: fields[:_MAX_FIELDS]},
        )

    def noticed(self, notice: Notice) -> None:
        """Count a message for operators, and pass its text on as a log event."""
        pipeline = self._handle.pipeline
        labels: Labels = {
            Attribute.MIGRATION: pipeline.instruments.bounds.migration(notice.migration),
            Attribute.NOTICE: str(notice.kind),
        }
        pipeline.instruments.notices.add(1, labels)
        pipeline.logger.emit(
            event_name=Event.NOTICE, severity_number=SeverityNumber.WARN, body=notice.text, attributes=labels
        )

    def loop_delayed(self, seconds: float) -> None:
        """Take note of how late an event loop woke a sleeper; for `start_loop_watch`."""
        self._handle.pipeline.instruments.loop_delay.record(seconds)


def _traces(comparison: Comparison) -> dict[str, str]:
    traces = {
        Attribute.PRIMARY_TRACE: comparison.primary_trace,
        Attribute.SHADOW_TRACE: comparison.shadow_trace,
    }
    return {name: trace for name, trace in traces.items() if trace is not None}


# What OpenTelemetry is told about HTTP requests and the connection pool.

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
