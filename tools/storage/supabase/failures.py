"""Translates what the clients raise. The texts depend on what happened, not on the client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
import httpx
from postgrest import APIError

from tools.storage.errors import (
    StorageConnectionLostError,
    StorageRefusedError,
    StorageTimeoutError,
    StorageUnreachableError,
)

_NOT_CONNECTED = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
)
_TIMED_OUT = (httpx.TimeoutException, TimeoutError)
_BROKEN = (httpx.HTTPError, aiohttp.ClientError, OSError)


@contextmanager
def translated(action: str, address: str) -> Iterator[None]:
    """Raise a `StorageError` for what goes wrong on the way to Supabase, and for what PostgREST refuses."""
    try:
        yield
    except _NOT_CONNECTED as error:
        raise StorageUnreachableError(action=action, address=address) from error
    except _TIMED_OUT as error:
        raise StorageTimeoutError(action=action, address=address) from error
    except _BROKEN as error:
        raise StorageConnectionLostError(action=action, address=address) from error
    except APIError as error:
        raise StorageRefusedError(
            action=action, status=None, code=error.code or "no code", message=error.message or "no message"
        ) from error
