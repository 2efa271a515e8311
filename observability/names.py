"""Every name that telemetry uses.

Names without the prefix `migration.` are those of the OpenTelemetry semantic conventions
(https://opentelemetry.io/docs/specs/semconv/); the others follow their rules: dotted, lower case, unit not in the name.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from opentelemetry.semconv._incubating.attributes import code_attributes as code
from opentelemetry.semconv._incubating.attributes import feature_flag_attributes as flag
from opentelemetry.semconv._incubating.attributes import file_attributes as file
from opentelemetry.semconv._incubating.metrics import process_metrics
from opentelemetry.semconv.attributes import error_attributes as errors
from opentelemetry.semconv.attributes import http_attributes as http
from opentelemetry.semconv.attributes import server_attributes as server
from opentelemetry.semconv.attributes import service_attributes as service
from opentelemetry.semconv.attributes import url_attributes as url
from opentelemetry.semconv.metrics import http_metrics

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
