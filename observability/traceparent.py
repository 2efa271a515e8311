"""Span contexts as text, in the form of W3C Trace Context."""

from __future__ import annotations

from typing import Final

from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanContext, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_PROPAGATOR: Final = TraceContextTextMapPropagator()


def to_traceparent(context: SpanContext) -> str | None:
    """Return the `traceparent` of a span, or None if it belongs to no trace."""
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def to_context(traceparent: str | None) -> Context:
    """Return a context in which the span that `traceparent` names is the current one; empty if it names none."""
    return _PROPAGATOR.extract({"traceparent": traceparent}, context=Context()) if traceparent else Context()


def to_links(traceparent: str | None) -> list[Link]:
    """Return a link to the span that `traceparent` names; none if it names none."""
    context = get_current_span(to_context(traceparent)).get_span_context()
    return [Link(context)] if context.is_valid else []
