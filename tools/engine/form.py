"""A form with one file as a request body of known length: never whole in memory, never in chunked encoding."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import StreamWriter

from tools.engine.errors import RequestTimedOutError
from tools.engine.reading import FileContent


class FileForm(aiohttp.Payload):
    """A rendered preamble, the file, and the end. A short file goes out in one write, a longer one piece by piece.

    Attributes:
        failure: why the body could not be written, as long as that is not the connection's fault: aiohttp itself
            reports it as a broken connection.
    """

    def __init__(
        self,
        content: FileContent,
        *,
        boundary: str,
        preamble: bytes,
        stall_seconds: float,
        chunk_bytes: int | None = None,
    ) -> None:
        super().__init__(content, content_type=f"multipart/form-data; boundary={boundary}")
        self._content = content
        self._preamble = preamble
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
