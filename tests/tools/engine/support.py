"""A scripted HTTP server that keeps the bytes it got, its lists of files, and a clock on which no wait takes time."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tools.engine.gateway import upload_through_gateway
from tools.engine.throttle import ThrottleStatus, snapshot
from tools.providers.spec import Provider
from tools.transport.loops import Clock

T = TypeVar("T")

KEY = "planted-key-7f3a"


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One request as it came over the wire."""

    line: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the server does with a request: answer, or close the connection (`status` None)."""

    status: int | None = 200
    body: bytes = b'{"id": "file-1"}'
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)

    def rendered(self) -> bytes:
        lines = [f"HTTP/1.1 {self.status} Whatever", f"Content-Length: {len(self.body)}"]
        if self.content_type:
            lines.append(f"Content-Type: {self.content_type}")
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + self.body


class WireServer:
    """Answers POST with `replies` in turn (the last one again and again) and GET with `listing`."""

    def __init__(self) -> None:
        self.requests: list[Received] = []
        self.replies: list[Reply] = [Reply()]
        self.listing = Reply(status=404, body=b"")
        self.arrived = asyncio.Event()
        self.hold: asyncio.Event | None = None
        self.closed_by_client = asyncio.Event()
        self.connections = 0
        self.port = 0
        self.stop_listening: Callable[[], None] = lambda: None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def posts(self) -> list[Received]:
        return [request for request in self.requests if request.line.startswith("POST")]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                while await self._exchange(reader, writer):
                    pass
            self.closed_by_client.set()
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        self.arrived.set()
        if self.hold is not None:
            await self.hold.wait()
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.requests.append(Received(line=head[0], headers=headers, body=body))
        reply = self.listing
        if head[0].startswith("POST"):
            reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if reply.status is None:
            return False
        writer.write(reply.rendered())
        await writer.drain()
        return True


@dataclass(slots=True)
class Waits:
    """A clock on which no wait takes time; it notes how long it would have been."""

    seconds: list[float] = field(default_factory=list)

    async def sleep(self, seconds: float) -> None:
        self.seconds.append(seconds)

    @property
    def clock(self) -> Clock:
        return Clock(sleep=self.sleep, jitter=lambda: 0.0, now=lambda: time.monotonic() + sum(self.seconds))


def chain_of(error: BaseException) -> list[BaseException]:
    """The error and everything that it names as its cause or context."""
    chain: list[BaseException] = []
    todo: list[BaseException | None] = [error]
    while todo:
        link = todo.pop()
        if link is not None and link not in chain:
            chain.append(link)
            todo += [link.__cause__, link.__context__]
    return chain


def throttle_of(provider: str) -> ThrottleStatus:
    """What is limited at a provider at this moment."""
    [limiters] = [limiters for limiters in snapshot() if limiters.provider == provider]
    return limiters


async def all_of(uploads: Iterable[Awaitable[T]]) -> list[T]:
    """Await all at once; the first failure is raised."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_awaited(upload)) for upload in uploads]
    return [task.result() for task in tasks]


async def _awaited(upload: Awaitable[T]) -> T:
    return await upload


def listed_file(file_id: str, *, created_at: float | None = None, **changes: Any) -> dict[str, Any]:
    """A file as a provider lists it: `a.txt` with 7 bytes for `agent`, made now."""
    entry = {
        "id": file_id,
        "object": "file",
        "bytes": 7,
        "created_at": int(time.time() if created_at is None else created_at),
        "filename": "a.txt",
        "purpose": "agent",
    }
    return {**entry, **changes}


def listing_of(*files: dict[str, Any], has_more: bool = False, date: float | None = None) -> Reply:
    """A provider's list of files."""
    body = json.dumps({"object": "list", "data": files, "has_more": has_more}).encode()
    return Reply(body=body, headers={} if date is None else {"Date": formatdate(date, usegmt=True)})


async def our_error(provider: Provider, path: Path, storage: Any, waits: Waits) -> Exception:
    """What an upload through the gateway raises."""
    with pytest.raises(Exception) as caught:  # noqa: PT011  # whichever it is, it is looked at
        await upload_through_gateway(provider, str(path), storage, "agent", clock=waits.clock)
    assert isinstance(caught.value, Exception)
    return caught.value
