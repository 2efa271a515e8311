"""For tests of code that is observed: telemetry kept in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, Metric
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


class Capture:
    """Keeps everything it is given, without bound. Hand it to `setup(capture=...)`."""

    receives_events = True

    def __init__(self) -> None:
        self.span_exporter = InMemorySpanExporter()
        self.log_exporter = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]  # the SDK does not annotate it
        self._reader: InMemoryMetricReader | None = None

    def new_metric_reader(self) -> InMemoryMetricReader:
        """Make the reader for a meter provider: a reader belongs to one provider for life."""
        self._reader = InMemoryMetricReader()
        return self._reader

    def spans(self) -> tuple[ReadableSpan, ...]:
        """Return the finished spans in the order in which they ended."""
        return self.span_exporter.get_finished_spans()

    def span(self, name: str) -> ReadableSpan:
        """Return the one finished span of this name."""
        (found,) = (span for span in self.spans() if span.name == name)
        return found

    def events(self, name: str) -> list[LogRecord]:
        """Return the log events of this name."""
        records = (finished.log_record for finished in self.log_exporter.get_finished_logs())
        return [record for record in records if record.event_name == name]

    def points(self, name: str) -> list[tuple[Mapping[str, Any], Any]]:
        """Return the data points of a metric, each with its attributes; empty if there are none."""
        return [
            (point.attributes or {}, point)
            for metric in self._metrics()
            if metric.name == name
            for point in metric.data.data_points
        ]

    def _metrics(self) -> Iterator[Metric]:
        data = self._reader.get_metrics_data() if self._reader else None
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                yield from scope.metrics
