"""A relay in front of a server that keeps every byte that clients send, those of broken-off requests included."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit


class Relay(socketserver.ThreadingTCPServer):
    """Passes connections on.

    Attributes:
        heard: what clients have sent, connection by connection.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        split = urlsplit(target)
        assert split.hostname is not None
        assert split.port is not None
        self.target = (split.hostname, split.port)
        self.heard: list[bytearray] = []

    def of(self, url: str) -> str:
        """The same address, by way of this relay."""
        return urlsplit(url)._replace(netloc=f"127.0.0.1:{self.server_address[1]}").geturl()

    @property
    def all_bytes(self) -> bytes:
        """Everything that clients have sent."""
        return b"".join(self.heard)


class _Connection(socketserver.BaseRequestHandler):
    server: Relay

    def handle(self) -> None:
        heard = bytearray()
        self.server.heard.append(heard)
        with socket.create_connection(self.server.target) as upstream, suppress(OSError):
            back = threading.Thread(target=_copy, args=(upstream, self.request), daemon=True)
            back.start()
            while piece := self.request.recv(64 * 1024):
                heard += piece
                upstream.sendall(piece)
            upstream.shutdown(socket.SHUT_WR)
            back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(64 * 1024):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)


@contextmanager
def relaying(target: str) -> Iterator[Relay]:
    """A relay to the server at this address."""
    with Relay(target) as relay:
        thread = threading.Thread(target=relay.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield relay
        finally:
            relay.shutdown()
            thread.join()
