"""One HTTP request and its answer. Every way in which it can go wrong has a type."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.message import Message
from http import HTTPMethod, HTTPStatus

import aiohttp
from yarl import URL

from shim.http.aiohttp_tap import read_bounded
from tools.settings import MEGABYTE, Settings, get_settings
from tools.transport.body import FileBody, upload_form
from tools.transport.connections import get_http_session, proxy_for
from tools.transport.errors import (
    AnswerTooLargeError,
    ConnectionLostError,
    ConnectionNotMadeError,
    HttpStatusError,
    InvalidAddressError,
    RequestTimedOutError,
    TransportError,
    progress,
)
from tools.transport.reading import FileContent
from tools.transport.writing import turns

MAX_ANSWER_BYTES = MEGABYTE
"""A longer answer to an upload is not read."""

STALL_SECONDS = 15.0
"""A server that takes not a byte for so long has hung."""

ANSWER_SECONDS = 300.0
"""How long an answer may take once everything has been sent: providers read a document before they answer."""

SLOWEST_BYTES_PER_SECOND = 64 * 1024
"""An upload that is slower than this in the long run is given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An HTTP answer, read to its end.

    Attributes:
        where: method and address it answers, without query.
        status: HTTP status.
        headers: headers, names in lower case.
        body: the body, unpacked.
    """

    where: str
    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def text(self) -> str:
        """The body as text; bytes that are none are replaced."""
        return self.body.decode(_charset(self.headers.get("content-type", "")), errors="replace")

    def raise_for_status(self) -> None:
        """Raise the fitting `HttpStatusError` unless the status is 2xx."""
        if not HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES:
            raise HttpStatusError.of(where=self.where, status=self.status, text=self.text, headers=dict(self.headers))


async def post_file(
    address: str,
    content: FileContent,
    *,
    purpose: str,
    headers: Mapping[str, str],
    chunk_bytes: int | None = None,
) -> Answer:
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
        stall_seconds=min(STALL_SECONDS, settings.upload_timeout),
    )
    try:
        return await _request(HTTPMethod.POST, address, headers=headers, body=payload, limit=MAX_ANSWER_BYTES)
    except BaseException as symptom:
        await payload.give_up()
        if payload.failure is not None and isinstance(symptom, TransportError):
            raise payload.failure from symptom
        raise


async def get(address: str, *, query: Mapping[str, str], headers: Mapping[str, str], limit: int) -> Answer:
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
) -> Answer:
    session = await get_http_session()
    url = _url(address)
    where = f"{method} {_public(url)}"
    await turns().take()  # a hundred requests that begin, and connect, at once would hold up the loop
    async with (
        _translated(where, body),
        session.request(
            method,
            url,
            params=query,
            headers=headers,
            data=body,
            allow_redirects=False,  # a redirect would carry the file and the key to somebody else
            proxy=proxy_for(url),
            timeout=_timeouts(get_settings(), size=0 if body is None else body.size),
        ) as response,
    ):
        answer = await read_bounded(response, limit)
        if answer is None:
            raise AnswerTooLargeError(f"{where}: the answer is longer than {limit} bytes")
        return Answer(
            where=where,
            status=response.status,
            headers={name.lower(): value for name, value in response.headers.items()},
            body=answer,
        )


@asynccontextmanager
async def _translated(where: str, body: FileBody | None) -> AsyncIterator[None]:
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


def _public(url: URL) -> str:
    """An address as it may be shown: a query or a user part may hold credentials."""
    return str(url.with_query(None).with_fragment(None).with_user(None))


def _charset(content_type: str) -> str:
    message = Message()
    message["content-type"] = content_type
    charset = message.get_content_charset("utf-8")
    try:
        "".encode(charset)
    except LookupError:
        return "utf-8"
    return charset
