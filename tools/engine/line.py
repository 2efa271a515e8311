"""Writes one request body into a connection, by copying or by `sendfile`."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp.http import StreamWriter

from shim.http.confinement import is_confined
from shim.http.progress import note_sent
from tools.engine.sockets import confirmed_bytes, duplicate, is_bare, is_encrypted, unconfirmed_bytes
from tools.engine.stall import StallWatch
from tools.engine.threads import run_in_thread
from tools.engine.turns import turns
from tools.settings import MEGABYTE

WRITE_BYTES = 512 * 1024
"""The most that is written at once. What the kernel does not take then is copied, and encryption copies everything."""

_SENDFILE_BYTES = MEGABYTE
"""The most that one `sendfile` may move, for the event loop stands still meanwhile."""

_AT_ONCE_BYTES = 32 * 1024
"""An empty write buffer takes so much without a wait: below asyncio's and aiohttp's marks of 64 KiB."""

_POLL_SECONDS = 0.001

_NO_SENDFILE = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
"""This file system or kernel cannot do it."""


class Line:
    """A connection while one body is sent; an asynchronous context that a stall ends with `TimeoutError`.

    Raises:
        aiohttp.ClientConnectionResetError: the connection is closed.

    Attributes:
        sent: bytes that the connection has taken.
    """

    def __init__(self, writer: StreamWriter, *, stall_seconds: float) -> None:
        transport = writer.transport
        if transport is None:
            raise aiohttp.ClientConnectionResetError("Cannot write to closing transport")
        self.sent = 0
        self._writer = writer
        self._transport = transport
        self._turns = turns()
        self._watch = StallWatch(stall_seconds, lambda: (self.sent, confirmed_bytes(transport)))
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

        A rehearsal's connection stands for one to a real service, which is encrypted, so it is sent to in the same way.
        """
        return is_bare(self._transport) and not is_confined()

    def abort(self) -> None:
        """Cut the connection; whoever waits for it fails.

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
            await self._turns.take()
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
        while self.sent - unconfirmed_bytes(self._transport) < count:  # noqa: ASYNC110  # nobody reports it
            await asyncio.sleep(_POLL_SECONDS)
        self._watch.waiting = False

    def _took(self, count: int) -> None:
        self.sent += count
        note_sent(count)

    async def _send_some(self, connected: socket.socket, descriptor: int, start: int, length: int) -> int:
        while True:
            await self._turns.take()
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
