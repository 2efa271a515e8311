"""A server that throws away what it gets, to be run as a script in a process of its own.

It prints its port in the clear and its encrypted one (the argument is a file with key and certificate) and serves until
its standard input ends.
"""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import trustme

_ANSWER = b'{"id": "file-1"}'
_REPLY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(_ANSWER), _ANSWER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sink:
    """A running sink.

    Attributes:
        plain: its address in the clear.
        encrypted: its other address.
        authority: the certificate to trust.
    """

    plain: str
    encrypted: str
    authority: Path


@contextmanager
def running_sink(folder: Path) -> Iterator[Sink]:
    """Run one in a process of its own; its certificate is put into `folder`."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "authority.pem")
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    process = subprocess.Popen(  # noqa: S603  # our own script
        [sys.executable, "-m", "tests.tools.engine.sink", str(folder / "server.pem")],
        cwd=Path(__file__).parents[3],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        plain, encrypted = process.stdout.readline().split()
        yield Sink(
            plain=f"http://127.0.0.1:{int(plain)}",
            encrypted=f"https://localhost:{int(encrypted)}",
            authority=folder / "authority.pem",
        )
        process.stdin.close()


def _serve(connection: socket.socket) -> None:
    buffer = memoryview(bytearray(1024 * 1024))
    with connection, suppress(OSError):
        while True:
            head = bytearray()
            while b"\r\n\r\n" not in head:
                piece = connection.recv(64 * 1024)
                if not piece:
                    return
                head += piece
            end = head.index(b"\r\n\r\n") + 4
            length = int(head[:end].lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            left = length - (len(head) - end)
            while left:
                count = connection.recv_into(buffer[: min(left, len(buffer))])
                if not count:
                    return
                left -= count
            connection.sendall(_REPLY)


def _accept(listener: socket.socket, tls: ssl.SSLContext | None) -> None:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_handle, args=(connection, tls), daemon=True).start()


def _handle(connection: socket.socket, tls: ssl.SSLContext | None) -> None:
    with suppress(OSError):
        _serve(connection if tls is None else tls.wrap_socket(connection, server_side=True))


def _main(certificate: str) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    ports = []
    for tls in (None, context):
        listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        ports.append(listener.getsockname()[1])
        threading.Thread(target=_accept, args=(listener, tls), daemon=True).start()
    print(*ports, flush=True)  # noqa: T201  # what a script says
    sys.stdin.read()


if __name__ == "__main__":
    _main(sys.argv[1])
