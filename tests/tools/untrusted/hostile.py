"""A server whose answers are meant to hurt."""

from __future__ import annotations

import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

GIGABYTE = 1024**3
_PIECE = b'"aaaaaaaaaaaa", ' * 4096
_DRIPS = 600
_DRIP_SECONDS = 0.05


@dataclass(slots=True, kw_only=True)
class Hostile:
    """A running server.

    Attributes:
        answer: how a request is answered.
        url: where it is.
        asked: methods and paths, in order.
        heard: heads and bodies of the requests.
        sent: bytes of each answer's body that clients have taken, as far as the kernel did not keep them.
        ended: answers that were given to their end.
    """

    answer: Callable[[Hostile, BaseHTTPRequestHandler], None]
    url: str = ""
    asked: list[str] = field(default_factory=list)
    heard: list[bytes] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)
    ended: int = 0


def endless(hostile: Hostile, request: BaseHTTPRequestHandler) -> None:
    """1 GB of well-formed JSON."""
    _begin(request, {"Content-Length": str(GIGABYTE)})
    _pour(hostile, request, (_PIECE for _ in range(GIGABYTE // len(_PIECE))))


def bomb(hostile: Hostile, request: BaseHTTPRequestHandler) -> None:
    """1 GB of JSON in 1 MB of gzip."""
    packed = _packed()
    _begin(request, {"Content-Length": str(len(packed)), "Content-Encoding": "gzip"})
    _pour(hostile, request, (packed[place : place + 4096] for place in range(0, len(packed), 4096)))


@cache
def _packed() -> bytes:
    packer, out = zlib.compressobj(9, wbits=31), bytearray()
    for _ in range(GIGABYTE // len(_PIECE)):
        out += packer.compress(_PIECE)
    return bytes(out + packer.flush())


def drip(hostile: Hostile, request: BaseHTTPRequestHandler) -> None:
    """A byte now and then, for longer than anybody waits."""

    def slowly() -> Iterator[bytes]:
        for _ in range(_DRIPS):
            time.sleep(_DRIP_SECONDS)
            yield b" "

    _begin(request, {"Content-Length": str(_DRIPS)})
    _pour(hostile, request, slowly())


def saying(body: bytes, status: int = 200, **headers: str) -> Callable[[Hostile, BaseHTTPRequestHandler], None]:
    """Always the same answer."""

    def answer(hostile: Hostile, request: BaseHTTPRequestHandler) -> None:
        _begin(request, {"Content-Length": str(len(body)), **headers}, status)
        _pour(hostile, request, iter([body]))

    return answer


def _begin(request: BaseHTTPRequestHandler, headers: dict[str, str], status: int = 200) -> None:
    request.send_response(status)
    for name, value in ({"Content-Type": "application/json"} | headers).items():
        request.send_header(name, value)
    request.end_headers()


def _pour(hostile: Hostile, request: BaseHTTPRequestHandler, pieces: Iterator[bytes]) -> None:
    place = len(hostile.sent)
    hostile.sent.append(0)
    with suppress(OSError):
        for piece in pieces:
            request.wfile.write(piece)
            hostile.sent[place] += len(piece)
        hostile.ended += 1
    request.close_connection = True


@contextmanager
def hostile(
    answer: Callable[[Hostile, BaseHTTPRequestHandler], None], *, tls: ssl.SSLContext | None = None
) -> Iterator[Hostile]:
    """Run one; with `tls` as localhost."""
    state = Hostile(answer=answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one_request(self) -> None:
            with suppress(OSError):
                super().handle_one_request()

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            state.asked.append(f"{self.command} {self.path}")
            state.heard.append(self.requestline.encode() + b"\n" + bytes(self.headers) + b"\n" + body)
            state.answer(state, self)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    for method in ("GET", "POST", "PATCH", "DELETE"):
        setattr(Handler, f"do_{method}", Handler._answer)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        state.url = f"http://127.0.0.1:{server.server_port}"
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
            state.url = f"https://localhost:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()
