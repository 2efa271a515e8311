"""One HTTP request and its answer; its body may be a range of a file, never whole in memory and never chunked.

The SDKs render forms with httpx (https://github.com/encode/httpx/blob/0.28.1/httpx/_multipart.py) and its fork httpx2:
quotes and control characters in a name are written as `%XX`, except for ESC; a backslash is doubled.
"""

from __future__ import annotations

import asyncio
import errno
import mimetypes
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from http import HTTPMethod
from typing import ParamSpec, TypeVar, cast

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import StreamWriter
from yarl import URL

from tools.settings import MEGABYTE, Settings, get_settings
from tools.transport.connections import get_http_session
from tools.transport.errors import (
    ConnectionLostError,
    ConnectionNotMadeError,
    InvalidAddressError,
    RequestTimedOutError,
    TransportError,
    WriteTimedOutError,
    progress,
)
from tools.transport.loops import run_in_thread
from tools.transport.reading import BUFFERS, FileContent, RangeReader
from tools.transport.rest import RestAnswer, exchange, public
from tools.transport.writing import ConnectionWriter, loop_throttle

P = ParamSpec("P")
R = TypeVar("R")

COPIED_BYTES = 512 * 1024
"""How much of the end is copied when the kernel moves the rest.

The kernel sends a file as it is when a byte leaves the machine. So the last bytes wait until that has happened to all
that it moved; then the file is checked, and only if it is still the same does the body end.
"""

_LAST_BYTES = 4 * 1024


class FileBody(aiohttp.Payload):
    """A preamble, bytes of the file, and an epilogue. A short file goes out in one write, a longer one piece by piece.

    Args:
        content: the file.
        content_type: of the whole body.
        preamble: what precedes the file's bytes.
        epilogue: what follows them.
        start: first byte of the file to send.
        length: how many of its bytes to send; by default all from `start` on.
        write_timeout: how long a server may take no data.
        chunk_bytes: the most to read at once; by default whatever is fastest.

    Attributes:
        failure: why the body could not be written, as long as that is not the connection's fault: aiohttp itself
            reports it as a broken connection.

    Raises:
        ValueError: the range is not within the file.
    """

    def __init__(
        self,
        content: FileContent,
        *,
        content_type: str,
        preamble: bytes = b"",
        epilogue: bytes = b"",
        start: int = 0,
        length: int | None = None,
        write_timeout: float,
        chunk_bytes: int | None = None,
    ) -> None:
        super().__init__(content, content_type=content_type)
        self._content = content
        self._preamble = preamble
        self._epilogue = epilogue
        self._start = start
        self._length = content.size - start if length is None else length
        if not 0 <= start <= start + self._length <= content.size:
            raise ValueError(f"{content.name}: no {self._length} bytes from {start} on in {content.size}")
        self._whole = len(preamble) + self._length + len(epilogue)
        self._write_timeout = write_timeout
        self._chunk_bytes = chunk_bytes
        self._at_rest = asyncio.Event()
        self._at_rest.set()
        self._connection: ConnectionWriter | None = None
        self.failure: Exception | None = None

    @property
    def size(self) -> int:
        """Length of the body in bytes."""
        return self._whole

    @property
    def sent(self) -> int:
        """Bytes of the body that the connection has taken so far."""
        return 0 if self._connection is None else self._connection.sent

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write the body.

        Raises:
            RequestTimedOutError: the server takes no more data.
            FileChangedError: the file changed meanwhile; the body was left incomplete.
            OSError: the file cannot be read, or the connection broke.
        """
        connection = self._connection = ConnectionWriter(
            cast("StreamWriter", writer), write_timeout=self._write_timeout
        )
        self._at_rest.clear()
        try:
            async with connection:
                await self._write_to(connection)
        except TimeoutError:
            if not connection.stalled:
                raise
            self.failure = WriteTimedOutError(seconds=self._write_timeout, sent=connection.sent, size=self._whole)
            raise self.failure from None
        finally:
            self._at_rest.set()

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Write the body; its length is fixed anyway."""
        del content_length
        await self.write(writer)

    async def give_up(self) -> None:
        """Cut the connection, and wait until nothing is being read or written any more."""
        if self._connection is not None:
            self._connection.abort()
        await self._at_rest.wait()

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:  # noqa: ARG002  # the base class's signature
        """Not possible: the body is not in memory.

        Raises:
            TypeError: always.
        """
        raise TypeError("a streamed body cannot be decoded")

    async def _write_to(self, connection: ConnectionWriter) -> None:
        held = self._content.held
        if held is not None:
            await connection.write(
                b"".join((self._preamble, held[self._start : self._start + self._length], self._epilogue))
            )
            return
        connection.keep_nothing()
        await connection.write(self._preamble)
        with closing(RangeReader(self._content, start=self._start, length=self._length)) as reader:
            if reader.left > COPIED_BYTES and connection.takes_files:
                await self._let_kernel_send(reader, connection)
            await self._copy(reader, connection, reader.left)
        await connection.write(self._epilogue)

    async def _let_kernel_send(self, reader: RangeReader, connection: ConnectionWriter) -> None:
        """Send nearly all without touching it."""
        descriptor = await self._reading(reader.open)
        moved = await connection.send_file(descriptor, reader.place, reader.left - COPIED_BYTES)
        if moved:
            reader.skip(moved)
            end_of_moved = connection.sent
            await self._copy(reader, connection, reader.left - _LAST_BYTES)
            await connection.confirmed(end_of_moved)

    async def _copy(self, reader: RangeReader, connection: ConnectionWriter, length: int) -> None:
        end = reader.place + length
        while reader.place < end:
            with BUFFERS.lend() as buffer:
                piece = buffer[: min(self._chunk_bytes or len(buffer), end - reader.place)]
                count = await self._reading(reader.read_into, piece)
                await connection.write_view(piece[:count])

    async def _reading(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await run_in_thread(function, *args, **kwargs)
        except Exception as failure:
            self.failure = failure
            raise


# The form of a file upload, byte for byte what the vendors' SDKs send.

_ESC = 0x1B
_ESCAPES = {code: f"%{code:02X}" for code in range(0x20) if code != _ESC} | {ord('"'): "%22", ord("\\"): "\\\\"}


def upload_form(
    content: FileContent, *, purpose: str, write_timeout: float, chunk_bytes: int | None = None
) -> FileBody:
    """The form `purpose`, `file`."""
    boundary = os.urandom(16).hex()
    return FileBody(
        content,
        content_type=f"multipart/form-data; boundary={boundary}",
        preamble=_preamble(boundary, purpose=purpose, filename=content.name),
        epilogue=f"\r\n--{boundary}--\r\n".encode(),
        write_timeout=write_timeout,
        chunk_bytes=chunk_bytes,
    )


def _preamble(boundary: str, *, purpose: str, filename: str) -> bytes:
    """Everything in front of the file's bytes."""
    # encoded alone, so that a name that is no text is reported as by the SDKs
    quoted = f'filename="{filename.translate(_ESCAPES)}"'.encode()
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


# One HTTP request and its answer. Every way in which it can go wrong has a type.

MAX_ANSWER_BYTES = MEGABYTE
"""A longer answer to an upload is not read."""

WRITE_TIMEOUT_SECONDS = 15.0
"""A server that takes not a byte for so long has hung."""

ANSWER_SECONDS = 300.0
"""How long an answer may take once everything has been sent: providers read a document before they answer."""

SLOWEST_BYTES_PER_SECOND = 64 * 1024
"""An upload that is slower than this in the long run is given up."""


async def post_file(
    address: str,
    content: FileContent,
    *,
    purpose: str,
    headers: Mapping[str, str],
    chunk_bytes: int | None = None,
) -> RestAnswer:
    """Send a file as a form.

    Raises:
        ConnectionNotMadeError: nothing was sent.
        TransportError: the outcome is unknown.
        FileChangedError: the file changed while it was sent; the form was left incomplete.
        OSError: the file cannot be read any more; likewise.
        InvalidAddressError: `address` is no http(s) address.
    """
    settings = get_settings()
    payload = upload_form(
        content,
        purpose=purpose,
        chunk_bytes=chunk_bytes,
        write_timeout=min(WRITE_TIMEOUT_SECONDS, settings.upload_timeout),
    )
    try:
        return await _request(HTTPMethod.POST, address, headers=headers, body=payload, limit=MAX_ANSWER_BYTES)
    except BaseException as symptom:
        await payload.give_up()
        if payload.failure is not None and isinstance(symptom, TransportError):
            raise payload.failure from symptom
        raise


async def get(address: str, *, query: Mapping[str, str], headers: Mapping[str, str], limit: int) -> RestAnswer:
    """Ask for something; an answer of more than `limit` bytes is not read.

    Raises:
        TransportError: there was no usable answer.
    """
    return await _request(HTTPMethod.GET, address, query=query, headers=headers, limit=limit)


async def _request(
    method: HTTPMethod,
    address: str,
    *,
    headers: Mapping[str, str],
    limit: int,
    query: Mapping[str, str] | None = None,
    body: FileBody | None = None,
) -> RestAnswer:
    session = await get_http_session()
    url = _url(address)
    where = f"{method} {public(url)}"
    await loop_throttle().take()  # a hundred requests that begin, and connect, at once would hold up the loop
    timeout = _timeouts(get_settings(), size=0 if body is None else body.size)
    with _translated(where, body):
        return await exchange(
            session, method, url, limit=limit, timeout=timeout, params=query, headers=headers, data=body
        )


@contextmanager
def _translated(where: str, body: FileBody | None) -> Iterator[None]:
    try:
        yield
    except aiohttp.InvalidURL as invalid:
        raise InvalidAddressError(where) from invalid
    except aiohttp.ClientConnectorError as error:
        raise ConnectionNotMadeError(where) from error
    except aiohttp.ConnectionTimeoutError as error:
        raise ConnectionNotMadeError(where, timed_out=True) from error
    except TimeoutError as error:
        raise RequestTimedOutError(f"{where}: no answer in time{_unsent(body)}") from error
    except (aiohttp.ClientError, OSError) as error:
        if isinstance(error, OSError) and error.errno == errno.ETIMEDOUT:
            raise RequestTimedOutError(f"{where}: the server has gone{_unsent(body)}") from error
        raise ConnectionLostError(f"{where}: the connection broke ({type(error).__name__}){_unsent(body)}") from error


def _unsent(body: FileBody | None) -> str:
    """How far the upload got, unless everything was sent."""
    return "" if body is None or body.sent == body.size else f"; {progress(body.sent, body.size)}"


def _timeouts(settings: Settings, *, size: int) -> aiohttp.ClientTimeout:
    """Waiting for a free connection is bounded by the total; the answer may take as long as the provider parses."""
    total = settings.upload_connect_timeout + size / SLOWEST_BYTES_PER_SECOND + ANSWER_SECONDS
    return aiohttp.ClientTimeout(
        total=min(total, settings.upload_timeout),
        connect=None,
        sock_connect=settings.upload_connect_timeout,
        sock_read=None,
    )


def _url(address: str) -> URL:
    try:
        url = URL(address)
    except ValueError:
        raise InvalidAddressError(address) from None
    if url.scheme not in {"http", "https"} or not url.host:
        raise InvalidAddressError(address)
    return url
