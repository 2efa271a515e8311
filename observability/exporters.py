"""Exporters over OTLP/HTTP that stop when they are told to and do not outlive a fork.

An exporter whose receiver is down complains several times per batch, and its complaints quote exceptions and
environment variables, which may hold a header with a key.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

import requests
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExportResult
from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from prometheus_client import CollectorRegistry, start_http_server

from migration.forking import new_lock
from observability.config import PrometheusPortError, Receiver

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
