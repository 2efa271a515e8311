"""Exporters over OTLP/HTTP that stop when they are told to and do not outlive a fork."""

from __future__ import annotations

import os
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import requests
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExportResult
from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

from observability.config import Receiver


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
