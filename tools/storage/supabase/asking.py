"""One request to Supabase over the running loop's connection pool, and its answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import aiohttp
from yarl import URL

from shim.http.aiohttp_tap import read_bounded
from shim.http.hidden import HiddenText
from tools.engine.body import FileBody
from tools.engine.errors import RequestTimedOutError
from tools.engine.pool import get_http_session, proxy_for
from tools.settings import MEGABYTE, get_settings
from tools.storage.errors import StorageAnswerError, StorageError, StorageTimeoutError
from tools.storage.supabase.answers import Answer
from tools.storage.supabase.failures import translated
from tools.storage.supabase.terms import STORAGE_SECONDS, Target

MAX_ANSWER_BYTES = MEGABYTE
"""A longer answer is not read."""


async def ask(
    target: Target,
    method: str,
    parts: tuple[str, ...],
    *,
    action: str,
    headers: Mapping[str, str] | None = None,
    json: object = None,
    body: FileBody | None = None,
) -> Answer:
    """Ask Storage; `parts` is the path below `/storage/v1`, `action` is for error texts.

    Raises:
        StorageError: Storage could not be reached, or gave no usable answer.
        Exception: what reading the file raised.
    """
    session = await get_http_session()
    url = storage_url(target, *parts)
    with _failures_of(body, action, target.address), translated(action, target.address):
        try:
            async with session.request(
                method,
                url,
                headers={**_credentials(target), **(headers or {})},
                json=json,
                data=body,
                allow_redirects=False,  # a redirect would carry the key to somebody else
                proxy=proxy_for(url),
                timeout=timeouts(STORAGE_SECONDS),
            ) as response:
                content = await read_bounded(response, MAX_ANSWER_BYTES)
        except BaseException:
            if body is not None:
                await body.give_up()
            raise
    if content is None:
        raise StorageAnswerError(action=action, problem=f"the answer is longer than {MAX_ANSWER_BYTES} bytes")
    return Answer(action=action, status=response.status, headers=response.headers, body=content)


def _credentials(target: Target) -> dict[str, str]:
    return {"apiKey": HiddenText(target.key), "Authorization": HiddenText(f"Bearer {target.key}")}


def storage_url(target: Target, *parts: str) -> URL:
    """An address below `/storage/v1`; slashes in a part are kept."""
    return URL(target.url).joinpath("storage", "v1", *(name for part in parts for name in part.split("/")))


def timeouts(read_seconds: float) -> aiohttp.ClientTimeout:
    """The official client's patience with each answer, and a bound for the whole."""
    settings = get_settings()
    return aiohttp.ClientTimeout(
        total=settings.upload_timeout, sock_connect=settings.upload_connect_timeout, sock_read=read_seconds
    )


@contextmanager
def _failures_of(body: FileBody | None, action: str, address: str) -> Iterator[None]:
    """Raise what kept the body from being written, which aiohttp reports as a broken connection."""
    try:
        yield
    except StorageError as symptom:
        failure = None if body is None else body.failure
        if isinstance(failure, RequestTimedOutError):
            raise StorageTimeoutError(action=action, address=address) from symptom
        if failure is not None:
            raise failure from symptom
        raise
