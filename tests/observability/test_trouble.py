"""The receiver is away, or does not answer: the calls do not notice, and the end is not held up."""

from __future__ import annotations

import logging
import multiprocessing
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from multiprocessing.connection import Connection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration.model import Notice, NoticeKind
from observability import HttpTelemetry, Telemetry, setup
from observability.exporters import Gate, QuietFilter
from observability.names import Metric
from observability.testing import Capture
from tests.observability.making import NAME, call_operation, run, side_operation

BOUND = 8.0  # seconds; the default of a shutdown is 5, the SDK's own is 30 for each signal


@contextmanager
def refusing() -> Iterator[str]:
    """The port is closed."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    yield f"http://127.0.0.1:{port}"


@contextmanager
def hanging() -> Iterator[str]:
    """Connections are taken and never answered."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def failing() -> Iterator[str]:
    """Every request is answered with 503 and a wait of an hour."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the name is http.server's
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(503)
            self.send_header("Retry-After", "3600")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


Trouble = Callable[[], AbstractContextManager[str]]


@pytest.mark.parametrize("trouble", [refusing, hanging, failing])
def test_calls_go_on_and_shutdown_is_bounded(trouble: Trouble) -> None:
    """More spans than the queue holds are made at once, and the shutdown returns within seconds."""
    with trouble() as endpoint:
        handle = setup(environ={"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint})
        telemetry, http = Telemetry(handle), HttpTelemetry(handle)
        for _ in range(3000):
            run(telemetry, side_operation())
        http.request_started(method="GET", url=endpoint).finished(status=200, error=None)
        telemetry.noticed(Notice(kind=NoticeKind.FELL_BACK, migration=NAME, text="-"))
        start = time.monotonic()
        handle.shutdown()
        assert time.monotonic() - start < BOUND


def test_shutdown_says_when_it_gave_up(caplog: pytest.LogCaptureFixture) -> None:
    """A shutdown whose time is up says so, once; later ones have nothing to do."""
    with hanging() as endpoint:
        handle = setup(environ={"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint})
        run(Telemetry(handle), side_operation())
        assert handle.shutdown(timeout=0.1) is False
        assert handle.shutdown() is True
    assert [record.getMessage() for record in caplog.records if record.name == "observability.handle"] == [
        "telemetry was not delivered within 0.1 s; what was left of it is lost"
    ]


def test_observing_after_shutdown() -> None:
    """A call that ends after the shutdown is not hurt by it."""
    handle = setup(environ={}, capture=Capture(), prometheus_port=0)
    telemetry = Telemetry(handle)
    with telemetry.operation(call_operation()):
        assert handle.shutdown()
    run(telemetry, side_operation())


FORGETFUL = """
import logging
from observability import Telemetry, setup
from tests.observability.making import run, side_operation
telemetry = Telemetry(setup())
for _ in range(3000):
    run(telemetry, side_operation())
print("done")
"""


def test_process_that_forgets_the_shutdown() -> None:
    """A process that just ends does so in time, with few words on stderr and no key among them."""
    with refusing() as endpoint:
        environ = {
            **os.environ,
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"{endpoint}/sk-secret-path",
            "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20sk-secret,sk-secret-malformed",
        }
        ended = subprocess.run(  # noqa: S603  # our own interpreter and program
            [sys.executable, "-W", "error", "-c", FORGETFUL],
            env=environ,
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    assert ended.stdout == "done\n"
    assert len(ended.stderr.splitlines()) < 15
    assert "sk-secret" not in ended.stderr


def in_child(work: Callable[[], object]) -> object:
    """Do `work` in a forked process and return what it returned."""
    context = multiprocessing.get_context("fork")
    receiving, sending = context.Pipe(duplex=False)
    child = context.Process(target=_answer, args=(sending, work), daemon=True)
    child.start()
    assert receiving.poll(20), "the forked process does not answer"
    answer: object = receiving.recv()
    child.join()
    return answer


def _answer(connection: Connection, work: Callable[[], object]) -> None:
    connection.send(work())


def test_forked_process_starts_from_zero() -> None:
    """A forked process counts what it does itself; the parent goes on with its own figures."""
    capture = Capture()
    handle = setup(environ={}, capture=capture)
    telemetry = Telemetry(handle)

    def count() -> int:
        run(telemetry, side_operation())
        ((_, point),) = capture.points(Metric.OPERATION_DURATION)
        return int(point.count)

    assert [count(), count()] == [1, 2]
    assert in_child(count) == 1
    assert count() == 3
    handle.shutdown()


def test_fork_while_a_lock_is_held() -> None:
    """A lock that another thread held at the moment of the fork does not stop the forked process."""
    handle = setup(environ={}, capture=Capture())
    telemetry = Telemetry(handle)
    with handle.pipeline.instruments.active._lock, handle._lock:
        assert in_child(lambda: run(telemetry, side_operation())) is None
    handle.shutdown()


def test_forked_process_leaves_the_endpoint_alone() -> None:
    """The Prometheus endpoint stays the parent's: a forked process has none."""
    handle = setup(environ={}, prometheus_port=0)
    assert in_child(lambda: handle.prometheus_url) is None
    assert handle.prometheus_url is not None
    assert handle.shutdown()


def test_forked_process_does_not_keep_the_port() -> None:
    """When the parent's endpoint has ended the port stays closed, though a forked process lives on."""
    handle = setup(environ={}, prometheus_port=0)
    port = int((handle.prometheus_url or "").rsplit(":", 1)[1].removesuffix("/metrics"))
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=_live_on, args=(theirs,), daemon=True)
    child.start()
    ours.recv()
    assert handle.shutdown()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=10)
    ours.send("end")
    child.join()


def _live_on(connection: Connection) -> None:
    connection.send("here")
    connection.recv()


def test_forked_process_sends_nothing_of_its_parent() -> None:
    """What the parent's export threads hold is not sent a second time by their copies in a forked process."""
    gate = Gate()
    assert gate.is_open
    assert in_child(lambda: gate.is_open) is False
    gate.close()
    assert not gate.is_open


def a_record(message: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord("exporter", logging.WARNING, __file__, 1, message, arguments, None)


def test_complaints_are_few() -> None:
    """The same complaint is let through once a minute."""
    now = [0.0]
    quiet = QuietFilter(clock=lambda: now[0])
    passed = []
    for second in range(0, 180, 10):
        now[0] = float(second)
        passed.append(quiet.filter(a_record("down: %s", second)))
    assert passed.count(True) == 3
    assert quiet.filter(a_record("another"))


@given(st.text(min_size=1), st.binary(min_size=1), st.integers())
def test_complaints_quote_nothing(text: str, content: bytes, number: int) -> None:
    """Of a complaint's arguments only numbers and known words are kept; of the others, their types."""
    record = a_record("%s|%s|%s|%s|%s", f"sk-{text}", content, OSError(text), number, "spans")
    assert QuietFilter().filter(record)
    assert record.getMessage() == f"str|bytes|OSError|{number}|spans"


def test_complaints_about_a_mapping() -> None:
    """A single mapping, which logging passes on as it is, is stripped as well."""
    record = a_record("%(header)s", {"header": "sk-secret"})
    assert QuietFilter().filter(record)
    assert record.getMessage() == "str"


def test_complaints_have_no_traceback() -> None:
    """Of an exception its type is kept, not its message."""
    record = a_record("failed")
    record.exc_info = (OSError, OSError("sk-secret"), None)
    assert QuietFilter().filter(record)
    assert record.getMessage() == "failed (OSError)"
    assert record.exc_info is None
