"""Servers that a test starts on the event loop it likes: scripted ones, and one that takes data as it is told."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import trustme
import uvloop

from tests.tools.engine.support import WireServer
from tools.transport.connections import cleanup_http_session

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

NEW_LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@asynccontextmanager
async def listening(serve: Serve, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """The address of a server that lets `serve` handle each connection; afterwards the session is closed, too."""
    connections: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await serve(reader, writer)
        finally:
            writer.close()
            with suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()
            connections.discard(task)

    listener = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    port = listener.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}" if tls is None else f"https://localhost:{port}"
    finally:
        await cleanup_http_session()
        listener.close()
        for task in tuple(connections):
            task.cancel()
        if connections:
            await asyncio.wait(connections)


@asynccontextmanager
async def scripted(*, tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[WireServer, str]]:
    """A scripted server and its address."""
    server = WireServer()
    async with listening(server.serve, tls=tls) as address:
        yield server, address


def server_context(authority: trustme.CA) -> ssl.SSLContext:
    """For a server whose name is localhost."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    return context


async def answered(writer: asyncio.StreamWriter, status: int = 200) -> None:
    """Answer a request."""
    body = b'{"id": "file-1"}'
    head = f"HTTP/1.1 {status} Whatever\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()


async def request_head(reader: asyncio.StreamReader) -> int:
    """Read the head of a request and return the announced length of its body."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    return int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])
