"""What really goes over the wire to an OTLP receiver."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

import pytest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from oteltap import OtelTapHttpProtobufReceiver, OtelTapHttpProtobufReceiverSettings

from migration import Side
from migration.guard import Action, GuardFigures, Rule
from migration.model import Outcome
from observability import HttpTelemetry, Sources, Telemetry, setup
from observability.names import Event, Metric
from tests.observability.making import NAME, call_operation, run, side_operation

T = TypeVar("T")
WAIT = 20.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@pytest.fixture
async def receiver() -> AsyncIterator[tuple[OtelTapHttpProtobufReceiver, str]]:
    """An OTLP/HTTP receiver of another project, and its endpoint."""
    port = free_port()
    async with OtelTapHttpProtobufReceiver(OtelTapHttpProtobufReceiverSettings(http_port=port)) as tap:
        yield tap, f"http://127.0.0.1:{port}"


def waiting(coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Begin to wait before there is anything to wait for."""
    return asyncio.create_task(coroutine)


def plain(attributes: list[KeyValue]) -> dict[str, Any]:
    values = ((pair.key, pair.value) for pair in attributes)
    return {key: getattr(value, value.WhichOneof("value") or "string_value") for key, value in values}


async def test_all_signals_arrive(receiver: tuple[OtelTapHttpProtobufReceiver, str]) -> None:
    """Spans with their parents and links, metrics and the flag's evaluation arrive as they were meant."""
    tap, endpoint = receiver
    call_arrives = waiting(tap.await_trace(lambda span: span.name == NAME, WAIT))
    run_arrives = waiting(tap.await_trace(lambda span: span.name == f"{NAME} candidate", WAIT))
    request_arrives = waiting(tap.await_trace(lambda span: span.name == "POST", WAIT))
    shadow_arrives = waiting(tap.await_trace(lambda span: span.name == f"{NAME} legacy", WAIT))
    evaluation_arrives = waiting(tap.await_log(lambda log: log.event_name == Event.FLAG_EVALUATION, WAIT))
    duration_arrives = waiting(tap.await_metric(lambda metric: metric.name == Metric.OPERATION_DURATION, WAIT))
    memory_arrives = waiting(tap.await_metric(lambda metric: metric.name == Metric.PROCESS_MEMORY, WAIT))
    await asyncio.sleep(0)  # let them begin to wait
    handle = setup(environ={"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint})
    telemetry, http = Telemetry(handle), HttpTelemetry(handle)
    whole, side = call_operation(), side_operation(Side.CANDIDATE)
    with telemetry.operation(whole):
        with telemetry.operation(side):
            http.request_started(method="POST", url="http://127.0.0.1/f?token=secret").finished(status=200, error=None)
            side.outcome = Outcome(side=Side.CANDIDATE, seconds=0.5)
        whole.outcome = side.outcome
    run(telemetry, side_operation(Side.LEGACY, link=side.trace), error=OSError("secret"))
    assert await asyncio.to_thread(handle.shutdown)

    call, async_run, request = await call_arrives, await run_arrives, await request_arrives
    shadow, evaluation = await shadow_arrives, await evaluation_arrives
    duration, memory = await duration_arrives, await memory_arrives
    assert async_run.parent_span_id == call.span_id
    assert request.parent_span_id == async_run.span_id
    assert not shadow.parent_span_id
    assert shadow.links[0].span_id == async_run.span_id
    assert evaluation.span_id == call.span_id
    assert plain(list(evaluation.attributes))["feature_flag.result.variant"] == "candidate"
    assert duration.unit == "s"
    assert {plain(list(point.attributes))["migration.role"] for point in duration.histogram.data_points} == {
        "primary",
        "shadow",
    }
    assert memory.unit == "By"
    assert b"secret" not in b"".join(span.SerializeToString() for span in (call, async_run, request, shadow))


async def test_what_the_guard_knows_arrives(receiver: tuple[OtelTapHttpProtobufReceiver, str]) -> None:
    """What is looked up when metrics are collected goes the same way: a gauge and a counter, with their labels."""
    tap, endpoint = receiver
    evidence_arrives = waiting(tap.await_metric(lambda metric: metric.name == Metric.GUARD_EVIDENCE, WAIT))
    decisions_arrive = waiting(tap.await_metric(lambda metric: metric.name == Metric.GUARD_DECISIONS, WAIT))
    await asyncio.sleep(0)
    figures = GuardFigures(
        evidence={NAME: 250.0}, tripped=frozenset({NAME}), rulings={(NAME, Rule.EVIDENCE, Action.ROLLBACK): 1}
    )
    handle = setup(environ={"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}, sources=Sources(guard=lambda: figures))
    assert await asyncio.to_thread(handle.shutdown)
    [evidence] = (await evidence_arrives).gauge.data_points
    assert (evidence.as_double, plain(list(evidence.attributes))) == (250.0, {"migration.name": NAME})
    decisions = (await decisions_arrive).sum
    assert decisions.is_monotonic
    [decided] = decisions.data_points
    assert decided.as_int == 1
    assert plain(list(decided.attributes))["migration.guard.rule"] == "evidence"


@contextmanager
def noting() -> Iterator[tuple[str, list[str]]]:
    """A receiver that notes which paths it is asked for."""
    asked: list[str] = []

    class Noting(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the name is http.server's
            asked.append(self.path)
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Noting) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()


def test_only_the_configured_signal() -> None:
    """With an endpoint for spans alone, spans are sent there and nothing else is sent."""
    with noting() as (endpoint, asked):
        handle = setup(environ={"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{endpoint}/spans/here"})
        run(Telemetry(handle), call_operation())
        assert handle.shutdown()
    assert asked == ["/spans/here"]


FORGETFUL = """
from observability import Telemetry, setup
from tests.observability.making import call_operation, run
run(Telemetry(setup()), call_operation())
"""


def test_end_of_the_process_sends_the_rest() -> None:
    """What a process that just ends has observed last is sent at its exit, all signals of it."""
    with noting() as (endpoint, asked):
        subprocess.run(  # noqa: S603  # our own interpreter and program
            [sys.executable, "-W", "error", "-c", FORGETFUL],
            env={**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint},
            timeout=30,
            check=True,
        )
    assert sorted(asked) == ["/v1/logs", "/v1/metrics", "/v1/traces"]
