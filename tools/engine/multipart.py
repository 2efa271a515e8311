"""A file upload form as one request body of known length, byte for byte what the vendors' SDKs send.

The SDKs render forms with httpx (https://github.com/encode/httpx/blob/0.28.1/httpx/_multipart.py) and its fork httpx2:
quotes and control characters in a name are written as `%XX`, except for ESC; a backslash is doubled.
"""

from __future__ import annotations

import asyncio
import mimetypes
import os
from contextlib import aclosing

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import StreamWriter

from tools.engine.errors import RequestTimedOutError
from tools.engine.reading import FileContent

_ESC = 0x1B
_ESCAPES = {code: f"%{code:02X}" for code in range(0x20) if code != _ESC} | {ord('"'): "%22", ord("\\"): "\\\\"}


class FilePayload(aiohttp.Payload):
    """The form `purpose`, `file`. Short files go out in one write; longer ones piece by piece, with backpressure.

    Attributes:
        failure: why the body could not be written, as long as that is not the connection's fault.
    """

    def __init__(self, content: FileContent, *, purpose: str, chunk_bytes: int, stall_seconds: float) -> None:
        boundary = os.urandom(16).hex()
        super().__init__(content, content_type=f"multipart/form-data; boundary={boundary}")
        self._content = content
        self._preamble = _preamble(boundary, purpose=purpose, filename=content.name)
        self._epilogue = f"\r\n--{boundary}--\r\n".encode()
        self._size = len(self._preamble) + content.size + len(self._epilogue)
        self._chunk_bytes = chunk_bytes
        self._stall_seconds = stall_seconds
        self._at_rest = asyncio.Event()
        self._at_rest.set()
        self._transport: asyncio.Transport | None = None
        self.failure: Exception | None = None

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write the form.

        Raises:
            RequestTimedOutError: the server takes no more data.
            FileChangedError: the file changed meanwhile; the form was left incomplete.
            OSError: the file cannot be read, or the connection broke.
        """
        self._at_rest.clear()
        self._transport = writer.transport if isinstance(writer, StreamWriter) else None
        try:
            if self._content.held is not None:
                await self._pass_on(writer, b"".join((self._preamble, self._content.held, self._epilogue)))
                return
            await self._pass_on(writer, self._preamble)
            await self._write_file(writer)
            await self._pass_on(writer, self._epilogue)
        finally:
            self._at_rest.set()

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Write the form; its length is fixed anyway."""
        del content_length
        await self.write(writer)

    async def give_up(self) -> None:
        """Cut the connection, and wait until nothing is being read or written any more.

        Closing is not enough: it waits for the server to take what is buffered, and a server that hangs never does.
        """
        if self._transport is not None:
            self._transport.abort()
        await self._at_rest.wait()

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:  # noqa: ARG002  # the base class's signature
        """Not possible: the body is not in memory.

        Raises:
            TypeError: always.
        """
        raise TypeError("a streamed form cannot be decoded")

    async def _write_file(self, writer: AbstractStreamWriter) -> None:
        async with aclosing(self._content.chunks(self._chunk_bytes)) as chunks:
            while True:
                try:
                    chunk = await anext(chunks, None)
                except Exception as failure:
                    self.failure = failure
                    raise
                if chunk is None:
                    return
                await self._pass_on(writer, chunk)

    async def _pass_on(self, writer: AbstractStreamWriter, data: bytes) -> None:
        try:
            async with asyncio.timeout(self._stall_seconds):
                await writer.write(data)
        except TimeoutError:
            self.failure = RequestTimedOutError(f"no data was taken for {self._stall_seconds:g} s")
            raise self.failure from None


def _preamble(boundary: str, *, purpose: str, filename: str) -> bytes:
    """Everything in front of the file's bytes."""
    quoted = (
        f'filename="{filename.translate(_ESCAPES)}"'.encode()
    )  # alone, so that a bad name is reported as by the SDKs
    return b"".join(
        (
            f'--{boundary}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n{purpose}\r\n'.encode(),
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; '.encode(),
            quoted,
            f"\r\nContent-Type: {_content_type(filename)}\r\n\r\n".encode(),
        )
    )


def _content_type(filename: str) -> str:
    return mimetypes.guess_type(filename)[0] or "application/octet-stream"
