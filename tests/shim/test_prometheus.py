"""What a server that passes for Prometheus may answer: a reading comes of it in any case."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from shim.prometheus import PrometheusTallies


@contextmanager
def answering(answer: object) -> Iterator[PrometheusTallies]:
    """Tallies of a server that answers every question with the same."""
    body = json.dumps(answer).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Be quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield PrometheusTallies(f"http://127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()
            thread.join()


def vector(value: object, **labels: str) -> object:
    return {"status": "success", "data": {"result": [{"metric": labels, "value": [0, value]}]}}


@pytest.mark.parametrize(
    "answer",
    [
        {"status": "success"},
        {"status": "success", "data": []},
        {"status": "success", "data": {"result": None}},
        {"status": "success", "data": {"result": [1]}},
        {"status": "success", "data": {"result": [{"metric": {}}]}},
        {"status": "success", "data": {"result": [{"metric": None, "value": [0, "1"]}]}},
        vector("many"),
        vector("NaN", migration_side="candidate"),
        vector("+Inf", migration_side="candidate"),
        vector("-1", migration_side="candidate"),
        vector("1", migration_side="a third one"),
    ],
)
def test_garbage_is_a_problem(answer: object) -> None:
    """Nothing is raised, nothing is counted, and the rollout that asked is held by the reason."""
    with answering(answer) as tallies:
        reading = tallies.read("m")
    assert (list(reading.counters), reading.age) == ([], None)
    assert "Prometheus" in (reading.problem or "")


def test_a_vector_is_read() -> None:
    """A failed call of the new implementation is one."""
    with answering(vector("3", migration_side="candidate", error_type="OSError", job="j", instance="i")) as tallies:
        [counter] = tallies.read("m").counters
    assert (counter.source, counter.side, counter.bad, counter.value) == ("j/i", "candidate", True, 3.0)
