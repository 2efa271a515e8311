"""How much work an upload makes, counted rather than timed: noise cannot fail this, a careless change can."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.tools.engine.sink import Sink, running_sink
from tools.settings import MEGABYTE
from tools.transport import connections as pool
from tools.transport.connections import cleanup_http_session
from tools.transport.reading import BUFFER_BYTES, open_source
from tools.transport.upload import COPIED_BYTES, post_file
from tools.transport.writing import ConnectionWriter

SIZE = 50 * MEGABYTE
PIECES = SIZE // BUFFER_BYTES


Work = Counter[str]
"""reads: calls that read from the file; copied: bytes that they copied; hops: switches to a thread; writes: to the
connection; sends: calls that hand something to the kernel; rounds: turns of the event loop."""


class _CountingLoop(asyncio.SelectorEventLoop):
    work: Work

    def run_in_executor(self, *args: Any) -> Any:  # type: ignore[override]  # it passes everything on
        self.work["hops"] += 1
        return super().run_in_executor(*args)

    def _run_once(self) -> None:
        self.work["rounds"] += 1
        super()._run_once()  # type: ignore[misc]  # one turn of the loop; private, but there is no other place to count


class _CountingSocket(socket.socket):
    work: Work

    def send(self, *args: Any) -> int:
        self.work["sends"] += 1
        return super().send(*args)


@pytest.fixture(scope="module")
def sink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sink]:
    with running_sink(tmp_path_factory.mktemp("sink")) as running:
        yield running


@pytest.fixture
def counted(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path, str], Work]]:
    """Uploads a file once, on a connection that is open already, and counts the work of that."""
    work = Work()
    monkeypatch.setenv("SSL_CERT_FILE", str(sink.authority))
    pool.tls_context.cache_clear()
    monkeypatch.setattr(_CountingLoop, "work", work, raising=False)
    monkeypatch.setattr(_CountingSocket, "work", work, raising=False)
    preadv, write, new_socket = os.preadv, ConnectionWriter.write, pool.new_socket

    def counted_preadv(descriptor: int, buffers: Sequence[memoryview], offset: int, flags: int = 0) -> int:
        count = preadv(descriptor, buffers, offset, flags)
        if not flags:
            work["reads"] += 1
            work["copied"] += count
        return count

    async def counted_write(self: ConnectionWriter, data: bytes | memoryview) -> None:
        work["writes"] += 1
        await write(self, data)

    def counting_socket(address: Any) -> socket.socket:
        with new_socket(address) as made:
            return _CountingSocket(made.family, made.type, made.proto, made.detach())

    monkeypatch.setattr(os, "preadv", counted_preadv)
    monkeypatch.setattr(ConnectionWriter, "write", counted_write)
    monkeypatch.setattr(pool, "new_socket", counting_socket)

    async def upload(path: Path, address: str) -> Work:
        warm_up = path.with_name("warm-up.txt")
        warm_up.write_bytes(b"warm")
        await post_file(address, await open_source(warm_up), purpose="p", headers={})
        source = await open_source(path)
        work.clear()
        await post_file(address, source, purpose="p", headers={})
        counts = work.copy()
        await cleanup_http_session()
        return counts

    def run(path: Path, address: str) -> Work:
        with asyncio.Runner(loop_factory=_CountingLoop) as runner:
            return runner.run(upload(path, address))

    yield run
    pool.tls_context.cache_clear()


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "tls"])
def test_a_short_file_makes_one_write(
    counted: Callable[[Path, str], Work], sink: Sink, tmp_path: Path, *, encrypted: bool, say: Callable[[str], None]
) -> None:
    """Head, form and file leave in a single call, and nothing is read that was read when the file was measured."""
    path = tmp_path / "short.bin"
    path.write_bytes(os.urandom(20 * 1024))
    work = counted(path, sink.encrypted if encrypted else sink.plain)
    say(str(dict(work)))
    assert [work[what] for what in ("reads", "hops", "writes", "sends")] == [0, 0, 1, 1]
    assert work["rounds"] <= 10


def test_a_short_file_is_measured_in_one_hop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking at it, reading and hashing it is one visit to a thread."""
    path = tmp_path / "short.bin"
    path.write_bytes(b"short")
    work = Work()
    monkeypatch.setattr(_CountingLoop, "work", work, raising=False)
    with asyncio.Runner(loop_factory=_CountingLoop) as runner:
        runner.run(open_source(path))
        assert work["hops"] == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux moves files into sockets as it is done here")
def test_the_kernel_moves_a_long_file_by_itself(
    counted: Callable[[Path, str], Work], sink: Sink, tmp_path: Path, say: Callable[[str], None]
) -> None:
    """In the clear only the end of 50 MB is copied."""
    work = counted(_sparse(tmp_path), sink.plain)
    say(str(dict(work)))
    assert work["copied"] == COPIED_BYTES
    assert work["reads"] <= 2
    assert work["hops"] <= 3 + 2  # opening, two pieces; and the odd page that is not in memory
    assert work["writes"] <= 4


def test_an_encrypted_long_file_is_read_piece_by_piece(
    counted: Callable[[Path, str], Work], sink: Sink, tmp_path: Path, say: Callable[[str], None]
) -> None:
    """Each byte is read once; a piece costs one hop, one read and two writes."""
    work = counted(_sparse(tmp_path), sink.encrypted)
    say(str(dict(work)))
    assert work["copied"] == SIZE
    assert work["reads"] <= PIECES + 2
    assert work["hops"] <= PIECES
    assert work["writes"] <= 2 * PIECES + 2
    assert work["rounds"] <= 40 * PIECES


def _sparse(folder: Path) -> Path:
    path = folder / "long.bin"
    with path.open("wb") as file:
        file.truncate(SIZE)
    return path
