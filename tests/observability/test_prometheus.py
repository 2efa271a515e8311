"""The Prometheus endpoint, scraped over HTTP and read by Prometheus' own parser."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from migration import Comparison, Side
from migration.model import Notice, NoticeKind, Verdict
from observability import HttpTelemetry, PrometheusPortError, Telemetry, TelemetryHandle, setup
from tests.observability.making import NAME, a_call, a_decision, call_operation, run, side_operation

Series = dict[str, list[tuple[dict[str, str], float]]]


def scrape(handle: TelemetryHandle) -> Series:
    assert handle.prometheus_url is not None
    with urllib.request.urlopen(handle.prometheus_url, timeout=10) as answer:  # noqa: S310  # our own loopback URL
        text = answer.read().decode()
    series: Series = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            series.setdefault(sample.name, []).append((sample.labels, sample.value))
    return series


@pytest.fixture
def scraped() -> Iterator[TelemetryHandle]:
    handle = setup(environ={}, prometheus_port=0)
    yield handle
    handle.shutdown()


def test_everything_is_there(scraped: TelemetryHandle) -> None:
    """Each measurement is found under the name that rules and dashboards use."""
    telemetry, http = Telemetry(scraped), HttpTelemetry(scraped)
    run(telemetry, call_operation())
    run(telemetry, side_operation(), error=OSError())
    telemetry.compared(Comparison(call=a_call(), decision=a_decision(), verdict=Verdict.IDENTICAL))
    telemetry.noticed(Notice(kind=NoticeKind.FELL_BACK, migration=NAME, text="-"))
    telemetry.loop_delayed(0.001)
    http.request_started(method="GET", url="http://127.0.0.1/").finished(status=200, error=None)
    http.pool_limit(connections=4)
    http.pool_waited(seconds=0.001)
    assert set(scrape(scraped)) >= {
        "http_client_request_duration_seconds_bucket",
        "process_memory_usage_bytes",
        "target_info",
        "migration_active_operations",
        "migration_file_size_bytes_bucket",
        "migration_operation_duration_seconds_bucket",
        "migration_operation_duration_seconds_count",
        "migration_operation_duration_seconds_sum",
        "migration_eventloop_delay_seconds_bucket",
        "migration_notices_total",
        "migration_pool_limit",
        "migration_pool_usage",
        "migration_pool_utilization",
        "migration_pool_wait_duration_seconds_bucket",
        "migration_shadow_comparisons_total",
    }


def test_counts_go_on_between_scrapes(scraped: TelemetryHandle) -> None:
    """A scrape shows what has happened since the beginning, not since the last scrape."""
    telemetry = Telemetry(scraped)
    for expected in (1, 2, 3):
        run(telemetry, side_operation(Side.LEGACY))
        (sample,) = scrape(scraped)["migration_operation_duration_seconds_count"]
        assert sample[1] == expected


def test_failures_have_their_label(scraped: TelemetryHandle) -> None:
    """The success rate can be computed: failures carry `error_type`, successes an empty one."""
    telemetry = Telemetry(scraped)
    run(telemetry, side_operation())
    run(telemetry, side_operation(), error=OSError())
    samples = scrape(scraped)["migration_operation_duration_seconds_count"]
    assert {labels.get("error_type", "") for labels, _ in samples} == {"", "OSError"}


def test_two_endpoints() -> None:
    """Two set-ups in one process serve their own figures on their own ports."""
    first, second = (setup(environ={}, prometheus_port=0) for _ in range(2))
    run(Telemetry(first), side_operation())
    assert first.prometheus_url != second.prometheus_url
    assert "migration_operation_duration_seconds_count" in scrape(first)
    assert "migration_operation_duration_seconds_count" not in scrape(second)
    first.shutdown()
    second.shutdown()


def test_taken_port() -> None:
    """A port that is taken is a clear error that names it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PrometheusPortError, match=rf"127\.0\.0\.1:{port} \(Address already in use\)"):
            setup(environ={}, prometheus_port=port)


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 70_000), ("no host at all", 0)])
def test_impossible_address(host: str, port: int) -> None:
    """So is an address that cannot exist."""
    with pytest.raises(PrometheusPortError, match=f"on {host}:{port} "):
        setup(environ={}, prometheus_host=host, prometheus_port=port)


def test_endpoint_ends_with_shutdown() -> None:
    """After the shutdown the port is closed, and the port is free again."""
    handle = setup(environ={}, prometheus_port=0)
    url = handle.prometheus_url or ""
    port = int(url.rsplit(":", 1)[1].removesuffix("/metrics"))
    assert handle.shutdown()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(url, timeout=10)  # noqa: S310  # our own loopback URL
    again = setup(environ={}, prometheus_port=port)
    again.shutdown()


def test_only_loopback_by_default(scraped: TelemetryHandle) -> None:
    """Metrics, which need no password, are served to this machine only unless asked otherwise."""
    assert (scraped.prometheus_url or "").startswith("http://127.0.0.1:")
