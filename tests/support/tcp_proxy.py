"""A TCP proxy that does to connections what networks do: resets, half-closes, stalls, slowness, cuts at any byte."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit, urlunsplit

_PIECE_BYTES = 16 * 1024
_START_SECONDS = 10.0


class Way(StrEnum):
    """The two directions of a connection."""

    REQUEST = "request"
    RESPONSE = "response"


class Blow(StrEnum):
    """What befalls a connection."""

    RESET = "reset"  # RST to both ends
    CLOSE = "close"  # both ends see an orderly end
    HALF_CLOSE = "half_close"  # whom the bytes were for sees their end; the other direction goes on
    STALL = "stall"  # nothing more passes this way, and neither end is told


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What happens to one connection.

    Attributes:
        blow: what befalls it; None leaves it whole.
        way: in which direction the bytes are counted.
        after: how many bytes pass before.
        bytes_per_second: how fast bytes pass, each way; None is as fast as can be.
        seconds: how long a stall lasts before it ends in a reset; None is for ever.
        answer: bytes that answer instead of the server as soon as it has been asked, piece by piece.
        pause: seconds between two pieces of the answer.
    """

    blow: Blow | None = None
    way: Way = Way.REQUEST
    after: int = 0
    bytes_per_second: float | None = None
    seconds: float | None = None
    answer: Callable[[], Iterator[bytes]] | None = None
    pause: float = 0.0


SOUND = Fault()


@dataclass(slots=True)
class Passed:
    """What one connection has brought."""

    fault: Fault
    request: int = 0
    response: int = 0


@dataclass(slots=True)
class TcpProxy:
    """Stands between clients and the server at `target`.

    Attributes:
        port: where it listens, on the loopback.
        connections: every connection so far, oldest first.
        open: how many of them are open.
        most_open: how many of them were open at once.
        always: what befalls each connection for which nothing else was planned.
    """

    target: tuple[str, int]
    port: int = 0
    connections: list[Passed] = field(default_factory=list)
    open: int = 0
    most_open: int = 0
    always: Fault = SOUND
    _planned: list[Fault] = field(default_factory=list)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _server: asyncio.Server | None = None

    def through(self, url: str) -> str:
        """The same address, by way of this proxy."""
        return urlunsplit(urlsplit(url)._replace(netloc=f"127.0.0.1:{self.port}"))

    def plan(self, *faults: Fault) -> None:
        """Say what befalls the next connections, one after the other."""
        self._planned[:] = faults

    def weather(self, fault: Fault) -> None:
        """Say what befalls every connection from now on, and cut those that are open."""
        self.always = fault
        self.cut()

    def cut(self) -> None:
        """Reset every connection that is open."""
        self._ask(self._cut())

    def refuse(self) -> None:
        """Listen no more: connections are refused until `accept`."""
        self._ask(self._stop_listening())

    def accept(self) -> None:
        """Listen again, at the same port."""
        self._ask(self._listen())

    def clear(self) -> None:
        """Forget what was planned and what has passed."""
        self._planned.clear()
        self.connections.clear()
        self.always = SOUND

    def _ask(self, what: Any) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(_START_SECONDS)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", self.port, reuse_address=True)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
        await self._cut()

    async def _cut(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self._loop.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: writer.close())  # a task that is cancelled before it begins does not

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        fault = self._planned.pop(0) if self._planned else self.always
        passed = Passed(fault)
        self.connections.append(passed)
        try:
            if fault.answer is not None:
                await _answer(reader, writer, fault.answer(), fault.pause)
            else:
                await self._relay(reader, writer, passed)
        except (asyncio.CancelledError, asyncio.IncompleteReadError, OSError):
            _reset(writer)
        finally:
            self.open -= 1
            await _close(writer)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passed: Passed) -> None:
        there, back = await asyncio.open_connection(*self.target)
        ways = [
            asyncio.create_task(_carry(reader, back, passed, Way.REQUEST)),
            asyncio.create_task(_carry(there, writer, passed, Way.RESPONSE)),
        ]
        try:
            await asyncio.gather(*ways)
        except _ClosedError:
            pass
        except (asyncio.CancelledError, OSError):
            _reset(back)
            raise
        finally:
            back.close()  # before anything is awaited: a cut at this moment must not leave it open
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            await _close(back)


class _ClosedError(Exception):
    """The connection is to end in order."""


async def _carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter, passed: Passed, way: Way) -> None:
    """Pass bytes one way until their end, or until the fault strikes."""
    fault = passed.fault
    mine = fault.blow is not None and fault.way is way
    while True:
        left = fault.after - getattr(passed, way) if mine else _PIECE_BYTES
        if left <= 0:
            await _strike(fault, sink)
            return
        piece = await source.read(min(left, _PIECE_BYTES))
        if not piece:
            break
        if fault.bytes_per_second is not None:
            await asyncio.sleep(len(piece) / fault.bytes_per_second)
        sink.write(piece)
        await sink.drain()
        setattr(passed, way, getattr(passed, way) + len(piece))
    if sink.can_write_eof() and not sink.is_closing():
        sink.write_eof()


async def _strike(fault: Fault, sink: asyncio.StreamWriter) -> None:
    match fault.blow:
        case Blow.HALF_CLOSE:
            sink.write_eof()
        case Blow.CLOSE:
            raise _ClosedError
        case Blow.STALL:
            await asyncio.sleep(3600 if fault.seconds is None else fault.seconds)
            raise ConnectionResetError
        case _:
            raise ConnectionResetError


async def _answer(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pieces: Iterator[bytes], pause: float
) -> None:
    await reader.readuntil(b"\r\n\r\n")
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        if pause:
            await asyncio.sleep(pause)


async def _settle() -> None:
    """Let all that is closed be gone, and cancel what began meanwhile."""
    await asyncio.sleep(0.02)
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.sleep(0.02)


async def _close(writer: asyncio.StreamWriter) -> None:
    """Close in order and wait until it is done; with RST if that is cut short."""
    writer.close()
    try:
        await writer.wait_closed()
    except asyncio.CancelledError:
        _reset(writer)
        raise
    except OSError:
        pass  # the connection broke: it is closed all the same


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST instead of FIN."""
    connected = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextlib.contextmanager
def tcp_proxy(url: str) -> Iterator[TcpProxy]:
    """Run a proxy in front of the server at `url` for the length of a `with` block."""
    address = urlsplit(url)
    assert address.hostname is not None
    assert address.port is not None
    proxy = TcpProxy((address.hostname, address.port))
    thread = threading.Thread(target=proxy._loop.run_forever, name="tcp-proxy", daemon=True)
    thread.start()
    proxy.accept()
    try:
        yield proxy
    finally:
        proxy.refuse()
        proxy._ask(_settle())
        proxy._loop.call_soon_threadsafe(proxy._loop.stop)
        thread.join(_START_SECONDS)
        proxy._loop.close()


def http_answer(
    body: bytes, *, status: int = 200, times: int | None = 1, **headers: str
) -> Callable[[], Iterator[bytes]]:
    """An HTTP answer whose body is sent `times` over (None is without end), with no length announced."""

    def pieces() -> Iterator[bytes]:
        lines = [f"HTTP/1.1 {status} Whatever", "Connection: close"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        yield "\r\n".join([*lines, "", ""]).encode()
        yield from itertools.repeat(body) if times is None else itertools.repeat(body, times)

    return pieces
