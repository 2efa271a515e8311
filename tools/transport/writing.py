"""Writes one request body into a connection, by copying or by `sendfile`."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp.http import StreamWriter

from shim.http.attempts import note_sent
from shim.http.egress import is_confined
from tools.settings import MEGABYTE
from tools.transport.connections import confirmed_bytes, duplicate, is_bare, is_encrypted, unconfirmed_bytes
from tools.transport.loops import PerLoop, run_in_thread

_LOOKS = 5
"""How often one looks for progress within the time that is allowed; a stall is noticed one look late at most."""


class WriteTimeout:
    """An asynchronous context that ends with `TimeoutError` when the connection takes nothing for too long.

    Only waiting for the connection counts (`waiting`), not the time that reading the file takes. Nothing is planned
    before the first wait: a short body is gone before it could stall.

    Args:
        seconds: how long nothing may be taken.
        progress: anything that changes whenever something is taken.

    Attributes:
        stalled: whether the wait was ended.
    """

    def __init__(self, seconds: float, progress: Callable[[], object]) -> None:
        self.stalled = False
        self._waiting = False
        self._interval = seconds / _LOOKS
        self._progress = progress
        self._seen: object = None
        self._idle_looks = 0
        self._limit = asyncio.timeout(None)
        self._next_look: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        await self._limit.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._next_look is not None:
            self._next_look.cancel()
        await self._limit.__aexit__(kind, error, traceback)

    @property
    def waiting(self) -> bool:
        """Whether one waits for the connection at the moment."""
        return self._waiting

    @waiting.setter
    def waiting(self, waits: bool) -> None:
        self._waiting = waits
        if waits and self._next_look is None:
            self._plan()

    def _plan(self) -> None:
        self._next_look = asyncio.get_running_loop().call_later(self._interval, self._look)

    def _look(self) -> None:
        seen = self._progress()
        idle = self._waiting and seen == self._seen
        self._seen = seen
        self._idle_looks = self._idle_looks + 1 if idle else 0
        if self._idle_looks < _LOOKS:
            self._plan()
            return
        self.stalled = True
        self._limit.reschedule(asyncio.get_running_loop().time())


# Long steps on an event loop, one after the other, with everyone else on the loop served in between.

TURN_SECONDS = 0.001
"""How long steps may follow each other before the loop makes a turn."""

MAX_SKIPPED_TURNS = 4
"""How many turns, at most, a step waits for one that leaves it time: not for ever, for others may need every turn."""


class LoopThrottle:
    """Hands out the right to do something that holds up the loop for a fraction of a millisecond.

    A loop calls everyone who is ready before it looks at its sockets and timers again. With a hundred uploads that
    would add up; so who asks when the time is over waits, and then one step is done for each turn of the loop. A turn
    that took too long by itself, for the handshakes of what has begun before, does without a step.
    """

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_taken = False
        self._ends = 0.0
        self._turn_began = 0.0
        self._skipped = 0

    async def take(self) -> None:
        """Wait for one's turn, first come, first served."""
        loop = asyncio.get_running_loop()
        if not self._waiting and not self._is_taken:
            self._begin(loop)
        elif self._waiting or loop.time() >= self._ends:
            mine = loop.create_future()
            self._waiting.append(mine)
            await mine

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        self._is_taken = True
        self._turn_began = loop.time()
        self._ends = self._turn_began + TURN_SECONDS
        loop.call_soon(self._next, loop)

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        began, self._turn_began = self._turn_began, loop.time()
        if self._waiting and self._skipped < MAX_SKIPPED_TURNS and self._turn_began - began >= TURN_SECONDS:
            self._skipped += 1
            loop.call_soon(self._next, loop)
            return
        self._skipped = 0
        self._is_taken = False
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():  # else it was cancelled
                self._begin(loop)
                waiting.set_result(None)
                return


_throttles: PerLoop[LoopThrottle] = PerLoop()


def loop_throttle() -> LoopThrottle:
    """Those of the running loop."""
    return _throttles.get() or _throttles.set(LoopThrottle())


WRITE_BYTES = 512 * 1024
"""The most that is written at once. What the kernel does not take then is copied, and encryption copies everything."""

_SENDFILE_BYTES = MEGABYTE
"""The most that one `sendfile` may move, for the event loop is blocked meanwhile."""

_AT_ONCE_BYTES = 32 * 1024
"""An empty write buffer takes so much without a wait: below asyncio's and aiohttp's marks of 64 KiB."""

_POLL_SECONDS = 0.001

_NO_SENDFILE = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
"""This file system or kernel cannot do it."""


class ConnectionWriter:
    """A connection while one body is sent; an asynchronous context that ends with `TimeoutError` at a write timeout.

    Raises:
        aiohttp.ClientConnectionResetError: the connection is closed.

    Attributes:
        sent: bytes that the connection has taken.
    """

    def __init__(self, writer: StreamWriter, *, write_timeout: float) -> None:
        transport = writer.transport
        if transport is None:
            raise aiohttp.ClientConnectionResetError("Cannot write to closing transport")
        self.sent = 0
        self._writer = writer
        self._transport = transport
        self._throttle = loop_throttle()
        self._watch = WriteTimeout(write_timeout, lambda: (self.sent, confirmed_bytes(transport)))
        self._writable: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Self:
        await self._watch.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._watch.__aexit__(kind, error, traceback)

    @property
    def stalled(self) -> bool:
        """Whether the other end stopped taking data."""
        return self._watch.stalled

    @property
    def takes_files(self) -> bool:
        """Whether the kernel may move a file into the connection (see `send_file`): nothing is encrypted.

        A replay's connection replaces one to a real service, which is encrypted, so it is sent to in the same way.
        """
        return is_bare(self._transport) and not is_confined()

    def abort(self) -> None:
        """Cut the connection; what waits for it fails.

        Closing is not enough: it waits for the server to take what is buffered, and a server that hangs never does.
        """
        self._transport.abort()
        if self._writable is not None and not self._writable.done():
            self._writable.set_exception(aiohttp.ClientConnectionResetError("the connection was given up"))

    async def write(self, data: bytes | memoryview) -> None:
        """Write something, and go on when the connection wants more."""
        self._watch.waiting = len(data) > _AT_ONCE_BYTES or self._transport.get_write_buffer_size() > 0
        await self._writer.write(data)
        await self._writer.drain()
        self._watch.waiting = False
        self._took(len(data))

    def keep_nothing(self) -> None:
        """From here on a write has left the process when it returns, so that its memory can be used again.

        asyncio's TLS never reports an empty buffer when the limit is 0, for it then waits for less than nothing.
        """
        self._transport.set_write_buffer_limits(high=1 if is_encrypted(self._transport) else 0)

    async def write_view(self, view: memoryview) -> None:
        """Write memory that is used again afterwards (see `keep_nothing`)."""
        for start in range(0, len(view), WRITE_BYTES):
            await self._throttle.take()
            await self.write(view[start : start + WRITE_BYTES])

    async def send_file(self, descriptor: int, start: int, length: int) -> int:
        """Let the kernel move bytes of a file into the connection, as many as it can.

        Returns:
            How many: fewer than `length` if the file ends before, none if its file system cannot do this.

        Raises:
            OSError: the file cannot be read, or the connection broke.
        """
        with duplicate(self._transport) as connected:
            done = 0
            while done < length:
                count = await self._send_some(connected, descriptor, start + done, min(length - done, _SENDFILE_BYTES))
                if not count:
                    break
                done += count
                self._took(count)
        return done

    async def confirmed(self, count: int) -> None:
        """Wait until the other end has confirmed the first `count` bytes; the kernel may have no copy of them before.

        That is prompt as long as more has been written since, for the last bytes are confirmed late.
        """
        self._watch.waiting = True
        while self.sent - unconfirmed_bytes(self._transport) < count:  # noqa: ASYNC110  # no event reports it
            await asyncio.sleep(_POLL_SECONDS)
        self._watch.waiting = False

    def _took(self, count: int) -> None:
        self.sent += count
        note_sent(count)

    async def _send_some(self, connected: socket.socket, descriptor: int, start: int, length: int) -> int:
        while True:
            await self._throttle.take()
            try:
                if _is_cached(descriptor, start + length - 1):
                    return os.sendfile(connected.fileno(), descriptor, start, length)
                return await run_in_thread(os.sendfile, connected.fileno(), descriptor, start, length)
            except BlockingIOError:
                await self._until_writable(connected)
            except OSError as error:
                if error.errno in _NO_SENDFILE:
                    return 0
                raise

    async def _until_writable(self, connected: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        writable = self._writable = loop.create_future()
        loop.add_writer(connected, _settle, writable)  # again and again until it is removed
        self._watch.waiting = True
        try:
            await writable
        finally:
            loop.remove_writer(connected)
        self._watch.waiting = False


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _is_cached(descriptor: int, offset: int) -> bool:
    """Whether this byte of a file is in memory, so that moving it need not wait for a disk."""
    try:
        return os.preadv(descriptor, [bytearray(1)], offset, os.RWF_NOWAIT) == 1
    except OSError:  # it is not, or this file system does not tell
        return False
