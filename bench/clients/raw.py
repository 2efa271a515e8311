"""The limit of what Python can do: a socket, no HTTP library. `sendfile` over plain HTTP, reused pages over TLS."""

from __future__ import annotations

import json
import mmap
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from bench.clients.uploads import PURPOSE, Uploads, check_answer
from bench.harness import Job, Server

_BOUNDARY = "0123456789abcdef"
_EPILOGUE = f"\r\n--{_BOUNDARY}--\r\n".encode()
_PIECE = 1024 * 1024


@contextmanager
def raw(job: Job) -> Iterator[Uploads]:
    """One connection, kept alive; `copying` in the options forbids `sendfile`."""
    with _connected(job.sink) as connection:
        sender = _Sender(connection, host=urlsplit(job.sink.url).netloc)
        by_copying = job.options.get("copying", False) or isinstance(connection, ssl.SSLSocket)
        yield Uploads(job, sender.copy if by_copying else sender.sendfile)


@contextmanager
def _connected(server: Server) -> Iterator[socket.socket]:
    address = urlsplit(server.url)
    with socket.create_connection((address.hostname, address.port)) as plain:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if server.authority is None:
            yield plain
            return
        context = ssl.create_default_context(cafile=str(server.authority))
        with context.wrap_socket(plain, server_hostname=address.hostname) as secured:
            yield secured


class _Sender:
    """Sends files over one connection."""

    def __init__(self, connection: socket.socket, *, host: str) -> None:
        self._connection = connection
        self._host = host
        self._pages = mmap.mmap(-1, _PIECE)

    def sendfile(self, path: Path) -> None:
        """Let the kernel send the file."""
        with path.open("rb") as file:
            self._connection.sendall(self._head(path))
            self._connection.sendfile(file)
            self._connection.sendall(_EPILOGUE)
        self._check()

    def copy(self, path: Path) -> None:
        """Read pieces into the same pages and send them."""
        view = memoryview(self._pages)
        with path.open("rb", buffering=0) as file:
            self._connection.sendall(self._head(path))
            while count := file.readinto(view):
                self._connection.sendall(view[:count])
            self._connection.sendall(_EPILOGUE)
        self._check()

    def _head(self, path: Path) -> bytes:
        parts = (
            f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n{PURPOSE}\r\n'
            f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{path.name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        length = len(parts) + path.stat().st_size + len(_EPILOGUE)
        request = (
            f"POST /files HTTP/1.1\r\nHost: {self._host}\r\nContent-Length: {length}\r\n"
            f"Content-Type: multipart/form-data; boundary={_BOUNDARY}\r\n\r\n"
        ).encode()
        return request + parts

    def _check(self) -> None:
        answer = b""
        while not answer.endswith(b"}"):
            piece = self._connection.recv(65536)
            if not piece:
                raise ConnectionError("the sink has closed the connection")
            answer += piece
        check_answer(json.loads(answer.partition(b"\r\n\r\n")[2]))
