"""Calls, definitions and a scripted flag server for the tests of this room."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any, TypeVar

from flags import UnleashRouter
from migration import Call, Decision
from migration.model import CallSite

T = TypeVar("T")
Json = dict[str, Any]

NAME = "async-upload"


def make_call(unit: object = 1, name: str = NAME, **attributes: str | int) -> Call:
    return Call(
        migration=name,
        function="package.module:function",
        call_id=str(unit),
        args=(),
        kwargs={},
        site=CallSite(function="caller", file="caller.py", line=1),
        attributes=attributes,
    )


def rollout(
    percentage: object, *, stickiness: str = "sessionId", group: str = NAME, constraints: list[Json] | None = None
) -> Json:
    return {
        "name": "flexibleRollout",
        "parameters": {"rollout": percentage, "stickiness": stickiness, "groupId": group},
        "constraints": constraints or [],
    }


def constraint(field_name: str, *values: str, operator: str = "IN", inverted: bool = False) -> Json:
    return {"contextName": field_name, "operator": operator, "values": list(values), "inverted": inverted}


def feature(*strategies: Json, name: str = NAME, enabled: bool = True, **more: object) -> Json:
    return {"name": name, "type": "release", "enabled": enabled, "strategies": list(strategies), **more}


def payload(*features: Json, **more: object) -> str:
    return json.dumps({"version": 2, "features": list(features), **more})


def eventually(check: Callable[[], T], timeout: float = 15.0) -> T:
    """Return what `check` gives as soon as that is true."""
    deadline = time.monotonic() + timeout
    while not (result := check()):
        assert time.monotonic() < deadline, f"still {result!r} after {timeout} s"
        time.sleep(0.005)
    return result


def decide_until(router: UnleashRouter, wanted: Callable[[Decision], bool], unit: object = 1) -> Decision:
    """Decide until the decision is as wanted, and return it."""
    found: list[Decision] = []

    def look() -> bool:
        found[:] = [router.decide(make_call(unit))]
        return wanted(found[0])

    eventually(look)
    return found[0]


@dataclass(slots=True)
class ScriptedServer:
    """Answers polls as it is told; what Unleash itself cannot be made to do."""

    url: str = ""
    status: int = 200
    body: str = payload()
    etag: str | None = None
    repeats_etag: bool = True
    hang: bool = False
    trickle: bool = False
    polled: Event = field(default_factory=Event)
    headers_seen: list[dict[str, str]] = field(default_factory=list)
    released: Event = field(default_factory=Event)

    def saw_another_poll(self) -> None:
        """Wait for the end of a poll that began after this moment."""
        for _ in range(2):
            self.polled.clear()
            assert self.polled.wait(10)


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that gives up is what some tests are about."""


@contextlib.contextmanager
def scripted_server() -> Iterator[ScriptedServer]:
    script = ScriptedServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self._answer(202, "")

        def do_GET(self) -> None:
            script.headers_seen.append(dict(self.headers.items()))
            if script.hang:
                script.released.wait()
            unchanged = script.status == 200 and script.etag and self.headers.get("If-None-Match") == script.etag
            self._answer(304 if unchanged else script.status, "" if unchanged else script.body)
            script.polled.set()

        def _answer(self, status: int, body: str) -> None:
            content = body.encode()
            with contextlib.suppress(ConnectionError):
                self.send_response(status)
                if script.etag and self.command == "GET" and (status == 200 or script.repeats_etag):
                    self.send_header("ETag", script.etag)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                for piece in content if script.trickle else ():
                    self.wfile.write(bytes([piece]))
                    self.wfile.flush()
                    if script.released.wait(0.05):
                        return
                self.wfile.write(b"" if script.trickle else content)

        def log_message(self, format: str, *_: object) -> None:  # noqa: A002 - the base's name
            """Keep quiet."""

    server = _QuietServer(("127.0.0.1", 0), Handler)
    script.url = f"http://127.0.0.1:{server.server_address[1]}"
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield script
    finally:
        script.released.set()
        server.shutdown()
        server.server_close()


TOKEN = "*:development.a-planted-secret-token"
ALL = payload(feature(rollout("100")))
NONE = payload(feature(rollout("0")))


class Clock:
    """Seconds that a test can add to."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead
