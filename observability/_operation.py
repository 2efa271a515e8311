"""One call, or one run of a side, under observation."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING

from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.trace import Span, StatusCode, set_span_in_context

from migration import Operation, Role, Side
from observability._attributes import IMPLEMENTATIONS, fact_attributes, flag_attributes, site_attributes
from observability._traceparent import to_links, to_traceparent
from observability.names import Attribute, Event

if TYPE_CHECKING:
    from contextvars import Token

    from observability._instruments import Labels
    from observability._pipeline import Pipeline


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
        self._span = self._start_span()
        self._operation.trace = to_traceparent(self._span.get_span_context())
        inside = set_span_in_context(self._span)
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
                self._measure_file()
            else:
                self._measure_run(error_type)
        finally:
            otel_context.detach(self._token)
            self._end_span(error_type)

    # the span

    def _start_span(self) -> Span:
        operation = self._operation
        name, side = operation.call.migration, operation.side
        attributes = {
            **self._facts,
            Attribute.IMPLEMENTATION: IMPLEMENTATIONS[side or operation.decision.serve],
            Attribute.ROLE: str(operation.role),
        }
        if side is None:
            attributes |= site_attributes(operation.call)
            attributes[Attribute.FLAG_REASON] = str(operation.decision.reason)
        else:
            name = f"{name} {IMPLEMENTATIONS[side]}"
        if operation.role is Role.SHADOW:
            return self._pipeline.tracer.start_span(
                name, context=Context(), attributes=attributes, links=to_links(operation.link)
            )
        return self._pipeline.tracer.start_span(name, attributes=attributes)

    def _end_span(self, error_type: str | None) -> None:
        outcome = self._operation.outcome
        if self._span.is_recording():
            if outcome is not None:
                self._span.set_attribute(Attribute.IMPLEMENTATION, IMPLEMENTATIONS[outcome.side])  # after a fallback
            if error_type is not None:
                self._span.set_status(StatusCode.ERROR)
                self._span.set_attribute(Attribute.ERROR_TYPE, error_type)
                location = outcome.error_location() if outcome else None
                if location:
                    self._span.set_attribute(Attribute.ERROR_LOCATION, location)
        self._span.end()

    def _error_type(self, raised: type[BaseException] | None) -> str | None:
        """Return the type of the failure, if it is one: the outcome says so, or an interrupt that left none."""
        outcome = self._operation.outcome
        name = outcome.error_type if outcome else (raised.__name__ if raised else None)
        return None if name is None else self._pipeline.instruments.bounds.error_type(name)

    # measurements and events

    def _emit_evaluation(self, inside: Context) -> None:
        logger = self._pipeline.logger
        if logger.enabled(event_name=Event.FLAG_EVALUATION):
            attributes = flag_attributes(self._operation.call, self._operation.decision)
            logger.emit(event_name=Event.FLAG_EVALUATION, context=inside, attributes=attributes)

    def _count_in(self, side: Side) -> None:
        self._labels = {
            **self._call_labels(),
            Attribute.IMPLEMENTATION: IMPLEMENTATIONS[side],
            Attribute.ROLE: str(self._operation.role),
        }
        self._pipeline.instruments.active.add(1, self._labels)

    def _measure_run(self, error_type: str | None) -> None:
        instruments, outcome = self._pipeline.instruments, self._operation.outcome
        instruments.active.add(-1, self._labels)
        seconds = outcome.seconds if outcome else time.perf_counter() - self._started
        failure: Labels = {Attribute.ERROR_TYPE: error_type} if error_type else {}
        instruments.operation_duration.record(seconds, {**self._labels, **failure})

    def _measure_file(self) -> None:
        size = self._facts.get(Attribute.FILE_SIZE)
        if isinstance(size, int):
            self._pipeline.instruments.file_size.record(size, self._call_labels())

    def _call_labels(self) -> Labels:
        provider = self._facts.get(Attribute.PROVIDER)
        return self._pipeline.instruments.call_labels(self._operation.call.migration, provider)
