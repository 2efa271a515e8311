"""A sample of finished spans (a few traces a second), handed to the process metrics as plain values."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, StatusCode, TraceState, format_span_id, format_trace_id
from opentelemetry.util.types import Attributes

from migration.forking import new_lock
from observability.config import LinkAwareSampler
from observability.names import Attribute

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

_NANOSECONDS: Final = 1_000_000_000


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
        began=began / _NANOSECONDS,
        seconds=max(0, ended - began) / _NANOSECONDS,
        failed=span.status.status_code is StatusCode.ERROR,
        attributes={
            key: value for key, value in (span.attributes or {}).items() if isinstance(value, str | int | float | bool)
        },
        links=tuple(format_trace_id(link.context.trace_id) for link in span.links),
    )
