"""Every name that telemetry uses, and the attributes of spans and metrics, bounded in number; trace contexts.

Names without the prefix `migration.` are those of the OpenTelemetry semantic conventions
(https://opentelemetry.io/docs/specs/semconv/); the others follow their rules: dotted, lower case, unit not in the name.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from opentelemetry.context import Context
from opentelemetry.semconv._incubating.attributes import code_attributes as code
from opentelemetry.semconv._incubating.attributes import feature_flag_attributes as flag
from opentelemetry.semconv._incubating.attributes import file_attributes as file
from opentelemetry.semconv._incubating.attributes import thread_attributes as thread
from opentelemetry.semconv._incubating.metrics import process_metrics
from opentelemetry.semconv.attributes import error_attributes as errors
from opentelemetry.semconv.attributes import http_attributes as http
from opentelemetry.semconv.attributes import server_attributes as server
from opentelemetry.semconv.attributes import service_attributes as service
from opentelemetry.semconv.attributes import url_attributes as url
from opentelemetry.semconv.metrics import http_metrics
from opentelemetry.trace import Link, SpanContext, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from migration import Call, Decision, Reason, Side
from migration.forking import new_lock
from migration.model import Role

SCOPE: Final = "migration-shim"
"""Instrumentation scope of every tracer, meter and logger."""

DEFAULT_SERVICE: Final = "migration-shim"
"""`service.name` when the environment names none."""

OTHER: Final = "_OTHER"
"""What the conventions put in place of a value that is not known or not kept apart."""


class Attribute(StrEnum):
    """Keys of attributes on spans, metrics and events."""

    CODE_FILE_PATH = code.CODE_FILE_PATH
    CODE_FUNCTION_NAME = code.CODE_FUNCTION_NAME
    CODE_LINE_NUMBER = code.CODE_LINE_NUMBER
    ERROR_TYPE = errors.ERROR_TYPE
    FILE_SIZE = file.FILE_SIZE
    FLAG_CONTEXT_ID = flag.FEATURE_FLAG_CONTEXT_ID
    FLAG_KEY = flag.FEATURE_FLAG_KEY
    FLAG_PROVIDER_NAME = flag.FEATURE_FLAG_PROVIDER_NAME
    FLAG_REASON = flag.FEATURE_FLAG_RESULT_REASON
    FLAG_VARIANT = flag.FEATURE_FLAG_RESULT_VARIANT
    FLAG_VERSION = flag.FEATURE_FLAG_VERSION
    HTTP_METHOD = http.HTTP_REQUEST_METHOD
    HTTP_STATUS = http.HTTP_RESPONSE_STATUS_CODE
    SERVER_ADDRESS = server.SERVER_ADDRESS
    SERVER_PORT = server.SERVER_PORT
    SERVICE_NAME = service.SERVICE_NAME
    THREAD_NAME = thread.THREAD_NAME
    URL_FULL = url.URL_FULL

    DIFFERENT_FIELD = "migration.shadow.field"  # one such name, indexes left out
    DIFFERENT_FIELDS = "migration.shadow.different_fields"  # names of fields only, never their values
    ERROR_KIND = "migration.error.kind"  # one of a few, whichever library raised it; on failures only
    ERROR_LOCATION = "migration.error.location"  # `file.py:line` where the exception was raised
    GUARD_ACTION = "migration.guard.action"  # `freeze` or `rollback`
    GUARD_RULE = "migration.guard.rule"  # why
    MIGRATION = "migration.name"
    NOTICE = "migration.notice.kind"
    PROBABILITY = "migration.decision.probability"  # of being served by the candidate, 0..1
    ROLE = "migration.role"  # `primary` or `shadow`
    PRIMARY_TRACE = "migration.shadow.primary_trace"  # W3C traceparent of the run that answered the caller
    SIDE = "migration.side"  # `legacy` or `candidate`
    SHADOW_PROBABILITY = "migration.decision.shadow_probability"
    SHADOW_TRACE = "migration.shadow.trace"  # likewise of the run for comparison
    THREAD_PROBLEM = "migration.thread.problem"  # `refused` or `died`
    VERDICT = "migration.shadow.verdict"


class Metric(StrEnum):
    """Names of instruments."""

    ACTIVE_OPERATIONS = "migration.active_operations"
    DECISIONS = "migration.decisions"
    DECISIONS_EXPECTED = "migration.decisions.expected"
    EVENT_LOOP_DELAY = "migration.eventloop.delay"
    FILE_SIZE = "migration.file.size"  # after the model of `http.client.request.body.size`
    GUARD_DECISIONS = "migration.guard.decisions"
    GUARD_EVIDENCE = "migration.guard.evidence"
    GUARD_TRIPPED = "migration.guard.tripped"
    GUARD_MEMORY_LIMIT = "migration.guard.memory.limit"
    HTTP_DURATION = http_metrics.HTTP_CLIENT_REQUEST_DURATION
    NOTICES = "migration.notices"
    OPERATION_DURATION = "migration.operation.duration"
    POOL_LIMIT = "migration.pool.limit"
    POOL_USAGE = "migration.pool.usage"
    POOL_UTILIZATION = "migration.pool.utilization"
    POOL_WAIT = "migration.pool.wait.duration"
    PROCESS_MEMORY = process_metrics.PROCESS_MEMORY_USAGE
    SHADOW_COMPARISONS = "migration.shadow.comparisons"
    SHADOW_DIFFERENCES = "migration.shadow.differences"
    THREAD_PROBLEMS = "migration.thread.problems"


class Event(StrEnum):
    """Names of log events."""

    FLAG_EVALUATION = "feature_flag.evaluation"
    NOTICE = "migration.notice"
    SHADOW_COMPARED = "migration.shadow.compared"


class Unit(StrEnum):
    """Units, as UCUM writes them."""

    BYTES = "By"
    COMPARISON = "{comparison}"
    CONNECTION = "{connection}"
    DECISION = "{decision}"
    NOTICE = "{notice}"
    RATIO = "1"
    SECONDS = "s"
    RUN = "{run}"
    THREAD = "{thread}"


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
        self._lock = new_lock()
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
