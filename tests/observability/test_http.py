from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.trace import SpanKind, StatusCode

from observability import HttpTelemetry, TelemetryHandle
from observability.names import OTHER, Attribute, Metric
from observability.testing import Capture


@pytest.fixture
def http(handle: TelemetryHandle) -> HttpTelemetry:
    return HttpTelemetry(handle)


def observe(
    http: HttpTelemetry, url: str, *, method: str = "POST", status: int | None = 200, error: Any = None
) -> None:
    http.request_started(method=method, url=url).finished(status=status, error=error)


def test_request_is_a_client_span(http: HttpTelemetry, capture: Capture) -> None:
    """A request is a client span with the attributes of the conventions."""
    observe(http, "https://api.moonshot.ai/v1/files")
    (span,) = capture.spans()
    assert (span.name, span.kind, span.status.status_code) == ("POST", SpanKind.CLIENT, StatusCode.UNSET)
    assert dict(span.attributes or {}) == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "server.address": "api.moonshot.ai",
        "server.port": 443,
        "url.full": "https://api.moonshot.ai/v1/files",
    }


def test_request_is_measured(http: HttpTelemetry, capture: Capture) -> None:
    """A request's duration is measured under method, server and status, and not under its URL."""
    observe(http, "http://127.0.0.1:8080/v1/files")
    ((labels, point),) = capture.points(Metric.HTTP_DURATION)
    assert point.count == 1
    assert labels == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "server.address": "127.0.0.1",
        "server.port": 8080,
    }


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [(404, None, "404"), (503, None, "503"), (None, ConnectionResetError("secret"), "ConnectionResetError")],
)
def test_failed_request(
    http: HttpTelemetry, capture: Capture, status: int | None, error: Exception | None, expected: str
) -> None:
    """A status of failure or an exception makes a failed span; the exception's message is nowhere."""
    observe(http, "http://127.0.0.1/", status=status, error=error)
    (span,) = capture.spans()
    assert span.status.status_code is StatusCode.ERROR
    assert (span.attributes or {})[Attribute.ERROR_TYPE] == expected
    assert "secret" not in span.to_json()


def test_first_end_counts(http: HttpTelemetry, capture: Capture) -> None:
    """A request that is reported as ended twice is one request, ended the first time."""
    request = http.request_started(method="GET", url="http://127.0.0.1/")
    request.finished(status=200, error=None)
    request.finished(status=None, error=OSError())
    ((labels, point),) = capture.points(Metric.HTTP_DURATION)
    assert point.count == 1
    assert Attribute.ERROR_TYPE not in labels


def test_end_on_another_thread(http: HttpTelemetry, capture: Capture) -> None:
    """A request may end on another thread than it began on."""
    request = http.request_started(method="GET", url="http://127.0.0.1/")
    thread = threading.Thread(target=request.finished, kwargs={"status": 200, "error": None})
    thread.start()
    thread.join()
    assert len(capture.spans()) == 1


def test_unknown_method(http: HttpTelemetry, capture: Capture) -> None:
    """A method that is not of HTTP's own is `_OTHER`, and its span is named HTTP, as the conventions say."""
    observe(http, "http://127.0.0.1/", method="sk-secret")
    (span,) = capture.spans()
    assert (span.name, (span.attributes or {})[Attribute.HTTP_METHOD]) == ("HTTP", OTHER)


def test_servers_are_bounded(http: HttpTelemetry, capture: Capture) -> None:
    """Ever new servers make a bounded number of time series."""
    for port in range(1000, 1200):
        observe(http, f"http://127.0.0.1:{port}/")
    assert len(capture.points(Metric.HTTP_DURATION)) == 51


def test_statuses_are_bounded(http: HttpTelemetry, capture: Capture) -> None:
    """So do ever new statuses of a server that makes them up."""
    for status in range(400, 999):
        observe(http, "http://127.0.0.1/", status=status)
    assert len(capture.points(Metric.HTTP_DURATION)) == 51


def test_ipv6_and_default_port(http: HttpTelemetry, capture: Capture) -> None:
    """An IPv6 address keeps its brackets in the URL and loses them as an address."""
    observe(http, "http://[::1]/a")
    shown = dict(capture.spans()[0].attributes or {})
    assert (shown["url.full"], shown["server.address"], shown["server.port"]) == ("http://[::1]/a", "::1", 80)


@pytest.mark.parametrize("url", ["http://[broken", "http://host:99999/", "", "no url"])
def test_url_that_is_none(http: HttpTelemetry, capture: Capture, url: str) -> None:
    """What is no URL costs attributes, never the request."""
    observe(http, url)
    assert len(capture.spans()) == 1


secrets = st.text(alphabet="SECRT", min_size=6, max_size=12)


@given(user=secrets, password=secrets, query=secrets)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_urls_are_shown_without_secrets(
    http: HttpTelemetry, capture: Capture, user: str, password: str, query: str
) -> None:
    """Of a URL neither user, password, query nor fragment is shown anywhere."""
    capture.span_exporter.clear()
    observe(http, f"https://{user}:{password}@host:8443/v1/files?token={query}#{query}")
    (span,) = capture.spans()
    assert (span.attributes or {})[Attribute.URL_FULL] == "https://host:8443/v1/files"
    shown = span.to_json() + str(capture.points(Metric.HTTP_DURATION))
    assert not any(secret in shown for secret in (user, password, query))
