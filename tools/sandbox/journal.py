"""What was really received: a bounded log of requests without contents and credentials."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

KEPT_REQUESTS = 1000
_CREDENTIALS = frozenset({"authorization", "proxy-authorization", "apikey", "x-api-key", "cookie"})


@dataclass(slots=True, kw_only=True)
class Part:
    """One part of a multipart body.

    `headers` are in the order and spelling in which they came. `value` is that of an ordinary form field;
    a file has `filename` and no value. `bytes` and `sha256` are those of the part's content.
    """

    name: str
    filename: str | None
    headers: list[tuple[str, str]]
    bytes: int = 0
    sha256: str = ""
    value: str | None = None


@dataclass(slots=True, kw_only=True)
class Entry:
    """One request, from its head to its end.

    `ended` is `open`, `answered`, `reset`, `dropped`, `disconnected` (the client went away) or `stopped`.
    `body_sha256` is that of a body which is not multipart; parts have their own.
    """

    number: int
    service: str
    operation: str
    method: str
    path: str
    query: str
    headers: list[tuple[str, str]]
    parts: list[Part] = field(default_factory=list)
    body_bytes: int = 0
    body_sha256: str | None = None
    faults: list[str] = field(default_factory=list)
    status: int | None = None
    ended: str = "open"


class Journal:
    """The last requests, oldest first."""

    def __init__(self, kept: int = KEPT_REQUESTS) -> None:
        self._entries: deque[Entry] = deque(maxlen=kept)
        self._numbers = itertools.count(1)
        self._changed = asyncio.Condition()
        self.total = 0

    def begin(
        self,
        *,
        service: str,
        operation: str,
        method: str,
        path: str,
        query: str,
        headers: Iterable[tuple[bytes, bytes]],
    ) -> Entry:
        """Note a request whose head has arrived."""
        entry = Entry(
            number=next(self._numbers),
            service=service,
            operation=operation,
            method=method,
            path=path,
            query=query,
            headers=[_header(name, value) for name, value in headers],
        )
        self._entries.append(entry)
        self.total += 1
        return entry

    def clear(self) -> None:
        """Forget all requests."""
        self._entries.clear()
        self.total = 0

    def to_json(self) -> list[dict[str, Any]]:
        """The requests as plain data."""
        return [asdict(entry) for entry in self._entries]

    def count(self, service: str, operation: str) -> int:
        """How many kept requests are of this kind."""
        return sum(entry.service == service and entry.operation == operation for entry in self._entries)

    async def announce(self) -> None:
        """Wake those who wait for requests."""
        async with self._changed:
            self._changed.notify_all()

    async def wait_for(self, service: str, operation: str, at_least: int, seconds: float) -> bool:
        """Wait until so many requests of this kind have begun; False after `seconds` without."""
        async with self._changed:
            try:
                async with asyncio.timeout(seconds):
                    await self._changed.wait_for(lambda: self.count(service, operation) >= at_least)
            except TimeoutError:
                return False
        return True


def _header(name: bytes, value: bytes) -> tuple[str, str]:
    text = name.decode("ascii", "replace")
    return text, "(hidden)" if text.lower() in _CREDENTIALS else value.decode("utf-8", "backslashreplace")
