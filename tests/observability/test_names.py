from __future__ import annotations

import re

import pytest
from opentelemetry.semconv._incubating.attributes import feature_flag_attributes, file_attributes, thread_attributes
from opentelemetry.semconv._incubating.metrics import process_metrics
from opentelemetry.semconv.attributes import (
    code_attributes,
    error_attributes,
    http_attributes,
    server_attributes,
    service_attributes,
    url_attributes,
)
from opentelemetry.semconv.metrics import http_metrics

import observability
from observability import HttpTelemetry, Telemetry, TelemetryHandle
from observability.names import Attribute, Event, Metric
from observability.testing import Capture
from tests.observability.making import call_operation, run, side_operation

ENUMS = (Attribute, Event, Metric)


def test_exports_are_sorted() -> None:
    """The package exports what it says, in order."""
    assert sorted(observability.__all__) == observability.__all__
    assert all(hasattr(observability, name) for name in observability.__all__)


@pytest.mark.parametrize("name", [name for enum in ENUMS for name in enum])
def test_form_of_names(name: str) -> None:
    """Names are dotted and lower case, say no unit and do not end in `_total`."""
    assert re.fullmatch(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+", name)
    assert not name.endswith(("_total", "_seconds", "_bytes"))


def test_standard_attributes() -> None:
    """Attributes outside `migration.` are known to the published conventions, letter by letter."""
    modules = (
        code_attributes,
        error_attributes,
        feature_flag_attributes,
        file_attributes,
        http_attributes,
        server_attributes,
        service_attributes,
        thread_attributes,
        url_attributes,
    )
    published = {value for module in modules for value in vars(module).values() if isinstance(value, str)}
    assert {str(name) for name in Attribute if not name.startswith("migration.")} <= published


def test_standard_metrics() -> None:
    """Metrics outside `migration.` are known to the published conventions."""
    published = {http_metrics.HTTP_CLIENT_REQUEST_DURATION, process_metrics.PROCESS_MEMORY_USAGE}
    assert {str(name) for name in Metric if not name.startswith("migration.")} == published


def test_nothing_is_named_elsewhere(handle: TelemetryHandle, capture: Capture) -> None:
    """Whatever is recorded goes by a name of the list."""
    http, telemetry = HttpTelemetry(handle), Telemetry(handle)
    run(telemetry, call_operation())
    run(telemetry, side_operation(), error=OSError())
    http.request_started(method="GET", url="http://127.0.0.1/").finished(status=500, error=None)
    used = {key for span in capture.spans() for key in span.attributes or {}}
    used |= {key for metric in Metric for labels, _ in capture.points(metric) for key in labels}
    assert used <= {*Attribute, "upload.provider"}  # the last is declared by the calls, and a label here
