"""Spans for a human at a terminal: one line each."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode, format_trace_id

from observability.names import Attribute

_NANOSECONDS_A_MILLISECOND: Final = 1_000_000
_NANOSECONDS_A_SECOND: Final = 1_000_000_000
_SHOWN: Final = {
    Attribute.IMPLEMENTATION: "",
    Attribute.ROLE: "",
    Attribute.FLAG_REASON: "reason=",
    Attribute.PROVIDER: "provider=",
    Attribute.FILE_SIZE: "bytes=",
    Attribute.SERVER_ADDRESS: "to=",
    Attribute.HTTP_STATUS: "status=",
    Attribute.ERROR_TYPE: "error=",
}


def one_line(span: ReadableSpan) -> str:
    """Render a span: when, name, how long, how it ended, its main attributes, its trace and the trace it shadows."""
    started, ended = span.start_time or 0, span.end_time or 0
    clock = datetime.fromtimestamp(started / _NANOSECONDS_A_SECOND, tz=UTC).astimezone()
    milliseconds = (ended - started) / _NANOSECONDS_A_MILLISECOND
    outcome = "FAILED" if span.status.status_code is StatusCode.ERROR else "ok"
    attributes = span.attributes or {}
    shown = [f"{label}{attributes[key]!s}" for key, label in _SHOWN.items() if key in attributes]
    trace = [f"trace={format_trace_id(span.context.trace_id)}"] if span.context else []
    shadowed = [f"shadows={format_trace_id(link.context.trace_id)}" for link in span.links]
    facts = " ".join(shown + trace + shadowed)
    line = (
        f"{clock:%H:%M:%S}.{clock.microsecond // 1000:03d} {span.name:<28} {milliseconds:>9.1f} ms {outcome:<6} {facts}"
    )
    return "".join(character if character.isprintable() else "?" for character in line) + "\n"
