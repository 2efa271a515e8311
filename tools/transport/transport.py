"""One HTTP request and its answer. Every way in which it can go wrong has a type."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPMethod

import aiohttp
from yarl import URL

from tools.settings import MEGABYTE, Settings, get_settings
from tools.transport.body import FileBody, upload_form
from tools.transport.connections import get_http_session
from tools.transport.errors import (
    ConnectionLostError,
    ConnectionNotMadeError,
    InvalidAddressError,
    RequestTimedOutError,
    TransportError,
    progress,
)
from tools.transport.reading import FileContent
from tools.transport.rest import RestAnswer, exchange, public
from tools.transport.writing import turns

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
    await turns().take()  # a hundred requests that begin, and connect, at once would hold up the loop
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
