"""Every name that this project's telemetry uses.

Names without the prefix `upload.` are those of the OpenTelemetry semantic conventions 1.44
(https://opentelemetry.io/docs/specs/semconv/); the others follow their rules: dotted, lower case, unit not in the name.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

SCOPE: Final = "upload-shim"
"""Instrumentation scope of every tracer, meter and logger."""

DEFAULT_SERVICE: Final = "upload-shim"
"""`service.name` when the environment names none."""

OTHER: Final = "_OTHER"
"""What the conventions put in place of a value that is not known or not kept apart."""


class Attribute(StrEnum):
    """Keys of attributes on spans, metrics and events."""

    CODE_FILE_PATH = "code.file.path"
    CODE_FUNCTION_NAME = "code.function.name"
    CODE_LINE_NUMBER = "code.line.number"
    ERROR_TYPE = "error.type"
    FILE_SIZE = "file.size"
    FLAG_CONTEXT_ID = "feature_flag.context.id"
    FLAG_KEY = "feature_flag.key"
    FLAG_PROVIDER_NAME = "feature_flag.provider.name"
    FLAG_REASON = "feature_flag.result.reason"
    FLAG_VARIANT = "feature_flag.result.variant"
    FLAG_VERSION = "feature_flag.version"
    HTTP_METHOD = "http.request.method"
    HTTP_STATUS = "http.response.status_code"
    SERVER_ADDRESS = "server.address"
    SERVER_PORT = "server.port"
    SERVICE_NAME = "service.name"
    URL_FULL = "url.full"

    DIFFERENT_FIELD = "upload.shadow.field"  # one such name, indexes left out
    DIFFERENT_FIELDS = "upload.shadow.different_fields"  # names of fields only, never their values
    ERROR_KIND = "upload.error.kind"  # one of a few, whichever library raised it; on failures only
    ERROR_LOCATION = "upload.error.location"  # `file.py:line` where the exception was raised
    GUARD_ACTION = "upload.guard.action"  # `freeze` or `rollback`
    GUARD_RULE = "upload.guard.rule"  # why
    IMPLEMENTATION = "upload.implementation"  # `legacy` or `async`
    MIGRATION = "upload.migration"
    NOTICE = "upload.notice.kind"
    PROBABILITY = "upload.decision.probability"  # of being served by the asynchronous side, 0..1
    PROVIDER = "upload.provider"
    ROLE = "upload.role"  # `primary` or `shadow`
    PRIMARY_TRACE = "upload.shadow.primary_trace"  # W3C traceparent of the run that answered the caller
    SHADOW_PROBABILITY = "upload.decision.shadow_probability"
    SHADOW_TRACE = "upload.shadow.trace"  # likewise of the run for comparison
    VERDICT = "upload.shadow.verdict"


class Metric(StrEnum):
    """Names of instruments."""

    ACTIVE_OPERATIONS = "upload.client.active_operations"
    DECISIONS = "upload.decisions"
    DECISIONS_EXPECTED = "upload.decisions.expected"
    EVENT_LOOP_DELAY = "upload.eventloop.delay"
    FILE_SIZE = "upload.client.file.size"  # after the model of `http.client.request.body.size`
    GUARD_DECISIONS = "upload.guard.decisions"
    GUARD_EVIDENCE = "upload.guard.evidence"
    GUARD_LATCHED = "upload.guard.latched"
    GUARD_MEMORY_LIMIT = "upload.guard.memory.limit"
    HTTP_DURATION = "http.client.request.duration"
    NOTICES = "upload.notices"
    OPERATION_DURATION = "upload.client.operation.duration"
    POOL_LIMIT = "upload.pool.limit"
    POOL_USAGE = "upload.pool.usage"
    POOL_UTILIZATION = "upload.pool.utilization"
    POOL_WAIT = "upload.pool.wait.duration"
    PROCESS_MEMORY = "process.memory.usage"
    SHADOW_COMPARISONS = "upload.shadow.comparisons"
    SHADOW_DIFFERENCES = "upload.shadow.differences"
    THROTTLE_LIMIT = "upload.throttle.limit"
    THROTTLE_USAGE = "upload.throttle.usage"
    THROTTLE_WAITING = "upload.throttle.waiting"


class Event(StrEnum):
    """Names of log events."""

    FLAG_EVALUATION = "feature_flag.evaluation"
    NOTICE = "upload.notice"
    SHADOW_COMPARED = "upload.shadow.compared"


class Implementation(StrEnum):
    """Values of `upload.implementation`."""

    ASYNC = "async"
    LEGACY = "legacy"


class Unit(StrEnum):
    """Units, as UCUM writes them."""

    BYTES = "By"
    COMPARISON = "{comparison}"
    CONNECTION = "{connection}"
    DECISION = "{decision}"
    NOTICE = "{notice}"
    RATIO = "1"
    REQUEST = "{request}"
    SECONDS = "s"
    UPLOAD = "{upload}"
