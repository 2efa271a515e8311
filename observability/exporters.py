"""Where telemetry goes: receivers over OTLP/HTTP, the endpoint for Prometheus, a sample of spans for the console.

Exporters stop when they are told to, do not outlive a fork, and say little of what fails, without any content.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

import requests
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExportResult
from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, StatusCode, TraceState, format_span_id, format_trace_id
from opentelemetry.util.types import Attributes
from prometheus_client import CollectorRegistry, start_http_server

from migration.forking import new_lock
from observability.config import LinkAwareSampler, PrometheusPortError, Receiver
from observability.names import Attribute

if TYPE_CHECKING:
    from wsgiref.simple_server import WSGIServer

_EVERY_SECONDS: Final = 60.0
_HARMLESS: Final = frozenset({"spans", "metrics", "logs", "Span", "Log"})
_LOGGERS: Final = (
    "opentelemetry.exporter.otlp.common.http",
    "opentelemetry.exporter.otlp.proto.http._common",
    "opentelemetry.exporter.otlp.proto.http._log_exporter",
    "opentelemetry.exporter.otlp.proto.http.metric_exporter",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.sdk._shared_internal",
    "opentelemetry.sdk.metrics._internal",
    "opentelemetry.sdk.metrics._internal.export",
    "opentelemetry.util.re",
)


class QuietFilter(logging.Filter):
    """Lets each message through once a minute, with its arguments replaced by the names of their types."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._lock = new_lock()
        self._next: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Decide about one record, and strip it."""
        message = (record.name, str(record.msg))  # the template, of which the SDK has a fixed number
        with self._lock:
            now = self._clock()
            if now < self._next.get(message, now):
                return False
            self._next[message] = now + _EVERY_SECONDS
        _strip(record)
        return True


def _strip(record: logging.LogRecord) -> None:
    if isinstance(record.args, Mapping):
        record.args = {name: _harmless(argument) for name, argument in record.args.items()}
    elif record.args:
        record.args = tuple(_harmless(argument) for argument in record.args)
    if record.exc_info and record.exc_info[0]:
        record.msg = f"{record.msg} ({record.exc_info[0].__name__})"
    record.exc_info = None


def _harmless(argument: object) -> object:
    if argument is None or isinstance(argument, (int, float)) or argument in _HARMLESS:
        return argument
    return type(argument).__name__


_filter = QuietFilter()


def quieten_exporters() -> None:
    """Put the filter on the loggers concerned; doing it again changes nothing."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_filter)


# Exporters over OTLP/HTTP that stop when they are told to and do not outlive a fork.


class Gate:
    """Open in the process that made it, until it is closed.

    After a fork the SDK starts the parent's export threads again in the child, with a copy of the parent's figures:
    they must not be sent twice. And an export thread whose receiver hangs would go on for batch after batch after
    the shutdown has given up on it.
    """

    __slots__ = ("_closed", "_pid")

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._closed = False

    @property
    def is_open(self) -> bool:
        """Whether an export may begin."""
        return not self._closed and os.getpid() == self._pid

    def close(self) -> None:
        """Let no further export begin."""
        self._closed = True


def _new_session() -> requests.Session:
    """What the exporters would make for themselves, but that it reads no answer: only the status counts."""
    session = requests.Session()
    session.hooks["response"].append(_leave_unread)
    return session


def _leave_unread(answer: requests.Response, **_: object) -> None:
    """Throw an answer's body away: it may have no end."""
    answer.raw.close()
    answer.raw = BytesIO()


class GatedSpanExporter(OTLPSpanExporter):
    """Sends spans while its gate is open."""

    def __init__(self, gate: Gate, receiver: Receiver) -> None:
        super().__init__(endpoint=receiver.url, timeout=receiver.timeout, session=_new_session())
        self._gate = gate

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch, or refuse it."""
        return super().export(spans) if self._gate.is_open else SpanExportResult.FAILURE


class GatedLogExporter(OTLPLogExporter):
    """Sends log events while its gate is open."""

    def __init__(self, gate: Gate, receiver: Receiver) -> None:
        super().__init__(endpoint=receiver.url, timeout=receiver.timeout, session=_new_session())
        self._gate = gate

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Send a batch, or refuse it."""
        return super().export(batch) if self._gate.is_open else LogRecordExportResult.FAILURE


class GatedMetricExporter(OTLPMetricExporter):
    """Sends metrics while its gate is open."""

    def __init__(self, gate: Gate, receiver: Receiver) -> None:
        super().__init__(endpoint=receiver.url, timeout=receiver.timeout, session=_new_session())
        self._gate = gate

    def export(
        self, metrics_data: MetricsData, timeout_millis: float | None = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        """Send one collection, or refuse it."""
        if not self._gate.is_open:
            return MetricExportResult.FAILURE
        return super().export(metrics_data, timeout_millis, **kwargs)


# The endpoint that Prometheus scrapes.


class PrometheusEndpoint:
    """Serves the metrics of one meter provider at `/metrics`, from a registry of its own.

    Raises:
        PrometheusPortError: the port is taken, or may not be used.
    """

    def __init__(self, *, host: str, port: int) -> None:
        registry = CollectorRegistry()
        self.reader = PrometheusMetricReader(registry=registry, scope_info_enabled=False)
        self._server: WSGIServer
        self._thread: threading.Thread
        try:
            self._server, self._thread = start_http_server(port, host, registry)
        except (OSError, OverflowError) as refused:
            raise PrometheusPortError(host, port, getattr(refused, "strerror", None) or str(refused)) from refused
        self.url = f"http://{host}:{self._server.server_port}/metrics"

    def close(self) -> None:
        """Stop serving. Scrapes in flight are left to end by themselves."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def abandon(self) -> None:
        """Close the socket inherited from the parent process, whose thread does the serving."""
        self._server.socket.close()


# A sample of finished spans (a few traces a second), handed to the process metrics as plain values.

_NANOSECONDS_A_MILLISECOND: Final = 1_000_000
_NANOSECONDS_A_SECOND: Final = 1_000_000_000
_SHOWN: Final[Mapping[str, str]] = {
    Attribute.SIDE: "",
    Attribute.ROLE: "",
    Attribute.FLAG_REASON: "reason=",
    Attribute.FILE_SIZE: "bytes=",
    Attribute.SERVER_ADDRESS: "to=",
    Attribute.HTTP_STATUS: "status=",
    Attribute.ERROR_TYPE: "error=",
}


def one_line(span: ReadableSpan, labels: Iterable[str] = ()) -> str:
    """Render a span: when, name, duration, outcome, main attributes and `labels`, its trace, its primary's trace."""
    started, ended = span.start_time or 0, span.end_time or 0
    clock = datetime.fromtimestamp(started / _NANOSECONDS_A_SECOND, tz=UTC).astimezone()
    milliseconds = (ended - started) / _NANOSECONDS_A_MILLISECOND
    outcome = "FAILED" if span.status.status_code is StatusCode.ERROR else "ok"
    attributes = span.attributes or {}
    names = {**{label: f"{label.rpartition('.')[2]}=" for label in labels}, **_SHOWN}
    shown = [f"{name}{attributes[key]!s}" for key, name in names.items() if key in attributes]
    trace = [f"trace={format_trace_id(span.context.trace_id)}"] if span.context else []
    shadowed = [f"shadows={format_trace_id(link.context.trace_id)}" for link in span.links]
    facts = " ".join(shown + trace + shadowed)
    line = (
        f"{clock:%H:%M:%S}.{clock.microsecond // 1000:03d} {span.name:<28} {milliseconds:>9.1f} ms {outcome:<6} {facts}"
    )
    return "".join(character if character.isprintable() else "?" for character in line) + "\n"


TRACES_A_SECOND: Final = 5
"""Traces a second recorded for the console where no exporter receives spans; their shadows are recorded as well."""

QUEUE_SIZE: Final = 512
"""Spans that wait to be handed over; further ones are dropped."""

DELAY_MILLISECONDS: Final = 500
"""For which spans are gathered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentSpan:
    """A finished span.

    Attributes:
        trace: id of its trace, 32 hexadecimal figures.
        span: its own, 16 of them.
        parent: the span that it is part of; None for the root of a trace.
        name: what it is called.
        began: when, seconds since the epoch.
        seconds: how long it took.
        failed: whether its status is an error.
        attributes: its attributes, without lists.
        links: ids of the traces that it is linked to; a shadow is to that of its primary.
    """

    trace: str
    span: str
    parent: str | None
    name: str
    began: float
    seconds: float
    failed: bool = False
    attributes: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    links: tuple[str, ...] = ()


KeepSpans = Callable[[Sequence[RecentSpan]], object]
"""Is given finished spans, from a thread of the SDK."""


class KeepingExporter(SpanExporter):
    """Hands spans over."""

    def __init__(self, keep: KeepSpans) -> None:
        self._keep = keep

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Hand these over."""
        self._keep([_recent(span) for span in spans if span.context is not None])
        return SpanExportResult.SUCCESS


class FewTracesSampler(Sampler):
    """Keeps the first `TRACES_A_SECOND` traces of each second.

    Args:
        clock: a clock that does not jump, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = new_lock()
        self._second = 0
        self._kept = 0

    def should_sample(  # noqa: PLR0917  # the signature is the SDK's
        self,
        parent_context: Context | None,  # noqa: ARG002  # likewise
        trace_id: int,  # noqa: ARG002  # likewise
        name: str,  # noqa: ARG002  # likewise
        kind: SpanKind | None = None,  # noqa: ARG002  # likewise
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,  # noqa: ARG002  # likewise
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Decide about one root span that is about to start."""
        second = int(self._clock())
        with self._lock:
            if second != self._second:
                self._second, self._kept = second, 0
            self._kept += 1
            kept = self._kept <= TRACES_A_SECOND
        decision = Decision.RECORD_AND_SAMPLE if kept else Decision.DROP
        return SamplingResult(decision, attributes if kept else None, trace_state)

    def get_description(self) -> str:
        """Describe the sampler as the specification asks."""
        return f"FewTraces{{{TRACES_A_SECOND}}}"


def few_traces() -> Sampler:
    """Keeps a few traces a second, whole, with their shadows."""
    return LinkAwareSampler(ParentBased(FewTracesSampler()))


def _recent(span: ReadableSpan) -> RecentSpan:
    context, began, ended = span.context, span.start_time or 0, span.end_time or 0
    assert context is not None  # noqa: S101  # what the caller has looked for
    return RecentSpan(
        trace=format_trace_id(context.trace_id),
        span=format_span_id(context.span_id),
        parent=None if span.parent is None else format_span_id(span.parent.span_id),
        name=span.name,
        began=began / _NANOSECONDS_A_SECOND,
        seconds=max(0, ended - began) / _NANOSECONDS_A_SECOND,
        failed=span.status.status_code is StatusCode.ERROR,
        attributes={
            key: value for key, value in (span.attributes or {}).items() if isinstance(value, str | int | float | bool)
        },
        links=tuple(format_trace_id(link.context.trace_id) for link in span.links),
    )
