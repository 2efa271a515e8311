"""Attributes of spans and metrics: the library's values under their names, bounded in number, and trace contexts."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Final

from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanContext, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from migration import Call, Decision, Reason, Side
from migration.model import Role
from observability.names import OTHER, Attribute

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


# Plain text: to read a member of an enum takes 0.1 µs, and a call needs forty of them.
SIDE: Final = Attribute.SIDE.value
_ROLE: Final = Attribute.ROLE.value
_FUNCTION: Final = Attribute.CODE_FUNCTION_NAME.value
_FILE: Final = Attribute.CODE_FILE_PATH.value
_LINE: Final = Attribute.CODE_LINE_NUMBER.value
_KEY: Final = Attribute.FLAG_KEY.value
_VARIANT: Final = Attribute.FLAG_VARIANT.value
_REASON: Final = Attribute.FLAG_REASON.value
_CONTEXT_ID: Final = Attribute.FLAG_CONTEXT_ID.value
_PROBABILITY: Final = Attribute.PROBABILITY.value
_SHADOW_PROBABILITY: Final = Attribute.SHADOW_PROBABILITY.value
_PROVIDER_NAME: Final = Attribute.FLAG_PROVIDER_NAME.value
_VERSION: Final = Attribute.FLAG_VERSION.value
_ERROR_TYPE: Final = Attribute.ERROR_TYPE.value

SIDES: Final[Mapping[Side, str]] = {side: side.value for side in Side}
_ROLES: Final[Mapping[Role, str]] = {role: role.value for role in Role}
_REASONS: Final[Mapping[Reason, str]] = {reason: reason.value for reason in Reason}


def fact_attributes(call: Call) -> dict[str, str | int]:
    """Return the declared attributes of a call; names without a dot are put below `migration.`."""
    return {name if "." in name else f"migration.{name}": value for name, value in call.attributes.items()}


def run_attributes(side: Side, role: Role) -> dict[str, str | int]:
    """Return what runs of a side are told apart by."""
    return {SIDE: SIDES[side], _ROLE: _ROLES[role]}


def call_attributes(call: Call, decision: Decision) -> dict[str, str | int]:
    """Return where in the source the call was made, and why it was decided as it was."""
    site = call.site
    return {_FUNCTION: site.function, _FILE: site.file, _LINE: site.line, _REASON: _REASONS[decision.reason]}


def flag_attributes(call: Call, decision: Decision) -> dict[str, str | float]:
    """Return how the flag was evaluated for a call."""
    attributes: dict[str, str | float] = {
        _KEY: call.migration,
        _VARIANT: SIDES[decision.serve],
        _REASON: _REASONS[decision.reason],
        _CONTEXT_ID: call.call_id,
        _PROBABILITY: decision.probability,
        _SHADOW_PROBABILITY: decision.shadow_probability,
    }
    if decision.source:
        attributes[_PROVIDER_NAME] = decision.source
    if decision.flag_version:
        attributes[_VERSION] = decision.flag_version
    if decision.error:
        attributes[_ERROR_TYPE] = decision.error
    return attributes


DEFAULT_LIMIT: Final = 50


class BoundedValues:
    """Lets the first `limit` distinct values of an attribute through and calls all others `_OTHER`.

    The SDK keeps one time series for every combination of values it has ever seen and has no limit of its own.
    A value that was let through once stays itself, so no series changes its meaning.
    """

    __slots__ = ("_limit", "_lock", "_seen")

    def __init__(self, limit: int = DEFAULT_LIMIT) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._seen: set[str] = set()

    def __call__(self, value: str) -> str:
        """Return `value`, or `_OTHER` if too many others came before it."""
        if value in self._seen:
            return value
        with self._lock:
            if value not in self._seen and len(self._seen) >= self._limit:
                return OTHER
            self._seen.add(value)
            return value
