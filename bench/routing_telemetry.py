"""The telemetry of the routed calls: everybody's goes to the same place, where it is recorded and thrown away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from opentelemetry.metrics import Histogram
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Tracer

from observability import TelemetryHandle, setup
from observability.names import SCOPE, Attribute, Metric, Unit
from observability.testing import Capture

CALL: Final = "async-upload"

RUN_ATTRIBUTES: Final = {
    Attribute.MIGRATION.value: CALL,
    Attribute.SIDE.value: "legacy",
    Attribute.ROLE.value: "primary",
}
"""What a duration is recorded with."""

SPAN_ATTRIBUTES: Final = {Attribute.SIDE.value: "legacy", Attribute.ROLE.value: "primary"}
"""What the span of a run says."""

CALL_ATTRIBUTES: Final[Mapping[str, str | int]] = {
    **SPAN_ATTRIBUTES,
    Attribute.CODE_FUNCTION_NAME.value: "caller",
    Attribute.CODE_FILE_PATH.value: "caller.py",
    Attribute.CODE_LINE_NUMBER.value: 1,
    Attribute.FLAG_REASON.value: "static",
}
"""What the span of a call says."""


class _Nowhere(InMemorySpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002  # thrown away
        return SpanExportResult.SUCCESS


class _Discarding(Capture):
    """Spans are recorded, measurements added up, and nothing is kept. Events have no receiver."""

    receives_events = False

    def __init__(self) -> None:
        super().__init__()
        self.span_exporter = _Nowhere()


@contextmanager
def discarded_telemetry() -> Iterator[TelemetryHandle]:
    """Telemetry that costs a call what it costs everywhere, without what exporters do besides."""
    handle = setup(environ={}, capture=_Discarding(), set_global=True)
    try:
        yield handle
    finally:
        handle.shutdown()


def tracer_of(handle: TelemetryHandle) -> Tracer:
    """The tracer for those who make their spans themselves."""
    return handle.tracer_provider.get_tracer(SCOPE)


def duration_of(handle: TelemetryHandle) -> Histogram:
    """The histogram for those who measure durations themselves; its buckets are those of the shim's."""
    return handle.meter_provider.get_meter(SCOPE).create_histogram(Metric.OPERATION_DURATION, Unit.SECONDS)
