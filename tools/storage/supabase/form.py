"""The form in which the official client sends an object, as one request body of known length."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import aclosing
from typing import TYPE_CHECKING, NoReturn

import aiohttp
from aiohttp.http import StreamWriter

from tools.storage.supabase.terms import CACHE_CONTROL, STORAGE_SECONDS, Description

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from aiohttp.abc import AbstractStreamWriter

    from tools.engine.reading import FileSource


class ObjectForm(aiohttp.Payload):
    """The fields `cacheControl` and `metadata`, then `file`, which is read piece by piece while it is sent.

    Attributes:
        failure: why the file could not be read to its end. aiohttp itself reports that as a broken connection.
    """

    def __init__(self, source: FileSource, *, filename: str, description: Description) -> None:
        boundary = os.urandom(16).hex()
        super().__init__(source, content_type=f"multipart/form-data; boundary={boundary}")
        self._source = source
        self._preamble = "".join(
            (
                _field(boundary, "cacheControl", CACHE_CONTROL),
                _field(boundary, "metadata", json.dumps(description.metadata)),
                f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n',
                f"Content-Type: {description.content_type}\r\n\r\n",
            )
        ).encode()
        self._epilogue = f"\r\n--{boundary}--\r\n".encode()
        self._size = len(self._preamble) + source.size + len(self._epilogue)
        self._at_rest = asyncio.Event()
        self._at_rest.set()
        self._transport: asyncio.Transport | None = None
        self.failure: Exception | None = None

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write the form, waiting whenever the connection takes no more.

        Raises:
            TimeoutError: Storage takes no more data.
            Exception: what reading the file raised; the form is incomplete then.
        """
        self._transport = writer.transport if isinstance(writer, StreamWriter) else None
        self._at_rest.clear()
        try:
            await _pass_on(writer, self._preamble)
            async with aclosing(self._source.chunks()) as pieces:
                while piece := await self._next(pieces):
                    await _pass_on(writer, piece)
            await _pass_on(writer, self._epilogue)
        finally:
            self._at_rest.set()

    async def give_up(self) -> None:
        """Cut the connection, and wait until nothing is read any more.

        Closing is not enough: that waits for the server to take what is buffered.
        """
        if self._transport is not None:
            self._transport.abort()
        await self._at_rest.wait()

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> NoReturn:  # noqa: ARG002  # the base class's signature
        """Not possible: the file is not in memory.

        Raises:
            TypeError: always.
        """
        raise TypeError("a streamed form cannot be decoded")

    async def _next(self, pieces: AsyncGenerator[bytes, None]) -> bytes:
        try:
            return await anext(pieces, b"")
        except Exception as failure:
            self.failure = failure
            raise


def _field(boundary: str, name: str, value: str) -> str:
    return f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'


async def _pass_on(writer: AbstractStreamWriter, data: bytes) -> None:
    async with asyncio.timeout(STORAGE_SECONDS):
        await writer.write(data)
