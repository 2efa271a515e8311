"""The tools that are served, and how a call of each is carried out."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.transport_security import TransportSecuritySettings
from mcp.types import ToolAnnotations
from pydantic import BaseModel, Field

from tools.mcp import reported
from tools.settings import Settings, use_settings
from tools.smart_file_query import SmartFileQueryTool

CALLS_AT_ONCE = 4
"""Calls that are worked on. A call that was given up keeps its thread until the upload under way has ended."""

CALLS_WAITING = 16
"""Calls that wait for their turn; further ones are refused."""


class BusyError(Exception):
    """There is no place for another call."""

    def __init__(self) -> None:
        super().__init__(
            f"{CALLS_AT_ONCE} calls are under way and {CALLS_WAITING} are waiting; ask again when one of them has ended"
        )


class Places:
    """Places for calls, and the threads that they work in. Made within the event loop that serves them."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(CALLS_AT_ONCE)
        self._here = 0
        threads = ThreadPoolExecutor(CALLS_AT_ONCE, thread_name_prefix="mcp-call")
        asyncio.get_running_loop().set_default_executor(threads)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Wait for a place and keep it.

        Raises:
            BusyError: too many wait already.
        """
        if self._here >= CALLS_AT_ONCE + CALLS_WAITING:
            raise BusyError
        self._here += 1
        try:
            async with self._free:
                yield
        finally:
            self._here -= 1


# How clients reach the server: as the parent of this process, or over HTTP on the loopback.

HOST = "127.0.0.1"
"""There is no password, so nobody but this machine is served."""

PATH = "/mcp"

MAX_SESSIONS = 100
"""Clients over HTTP at once."""

DRAIN_SECONDS = 10
"""How long requests under way may take after Ctrl-C, over HTTP."""


def serve_stdio(server: MCPServer) -> None:
    """Serve whoever started this process until it closes standard input."""
    server.run("stdio")


def serve_http(server: MCPServer, *, port: int, on_ready: Callable[[str], None]) -> None:
    """Serve streamable HTTP on the loopback until interrupted.

    Requests that name another host, or come from a web page of another origin, are refused: a page that someone has
    open in a browser must not be able to ask about this machine's files.

    Args:
        server: what is served.
        port: where; 0 takes a free one.
        on_ready: told the address.

    Raises:
        OSError: the port is taken, or may not be used.
    """
    with socket.create_server((HOST, port)) as listening:
        number = listening.getsockname()[1]
        own = [f"{host}:{number}" for host in (HOST, "localhost")]
        app = server.streamable_http_app(
            streamable_http_path=PATH,
            max_sessions=MAX_SESSIONS,
            transport_security=TransportSecuritySettings(
                allowed_hosts=own, allowed_origins=[f"http://{each}" for each in own]
            ),
        )
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=DRAIN_SECONDS,
        )
        on_ready(f"http://{HOST}:{number}{PATH}")
        asyncio.run(uvicorn.Server(config).serve(sockets=[listening]))


# The tools that are served, and how a call of each is carried out.

NAME = "migration-shim"

INSTRUCTIONS = (
    "Answers questions about files of this machine. A file is uploaded to Kimi or GLM once; later questions about the "
    "same contents find it there. migration_status says how the uploads are carried out and how well that goes."
)

ADVICE = {
    "timeout": "ask again: an upload that has ended meanwhile is found and not repeated",
    "upload_failed": "look at the path and at what was refused, then ask again; what was taken is not sent twice",
    "query_failed": "look at the arguments; the file, if it was taken, stays uploaded, so asking again costs no upload",
}
"""What to do next, by `error_type`."""

Standing = Callable[[], Mapping[str, Any]]
"""Where the migrations stand, as plain data. May block."""


class Answer(BaseModel):
    """An answer, and where it comes from."""

    answer: str = Field(description="What the provider answered.")
    provider: str = Field(description="Who answered: kimi or glm.")
    model: str = Field(description="The model that answered.")
    file_id: str = Field(description="The provider's id of the file.")
    filename: str = Field(description="Name of the file, without its folder.")
    deduplicated: bool = Field(description="Whether the provider had the file already.")


FilePath = Annotated[str, Field(description="Path of the file on this machine, within the allowed folders.")]
Question = Annotated[str, Field(description="The question about it.")]
Provider = Annotated[Literal["auto", "kimi", "glm"], Field(description="Who is asked first; auto is Kimi, then GLM.")]
Model = Annotated[str | None, Field(description="The model to ask; by default the provider's configured one.")]


def build_server(settings: Settings, standing: Standing) -> MCPServer:
    """The server; every call is made with `settings`."""
    calls = _Calls(settings, standing)
    server = MCPServer(NAME, instructions=INSTRUCTIONS, lifespan=calls.lifespan, log_level="WARNING")
    server.add_tool(
        calls.smart_file_query,
        title="Ask about a file",
        annotations=ToolAnnotations(
            read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=True
        ),
    )
    server.add_tool(
        calls.migration_status,
        title="Where the migrations stand",
        annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False),
    )
    return server


class _Calls:
    """The tools' functions. Their docstrings are what clients are told of them."""

    def __init__(self, settings: Settings, standing: Standing) -> None:
        self._settings = settings
        self._standing = standing
        self._places: Places | None = None

    @asynccontextmanager
    async def lifespan(self, _server: MCPServer) -> AsyncIterator[None]:
        """Make the places once; over HTTP there is a lifespan for each session, and they share them."""
        self._places = self._places or Places()
        yield

    async def smart_file_query(
        self, file_path: FilePath, question: Question, ctx: Context, provider: Provider = "auto", model: Model = None
    ) -> Answer:
        """Answer a question about a file of this machine: upload it unless the provider has it, read it, ask.

        A call that is cancelled begins nothing more; an upload under way is brought to its end, and found next time.
        """
        arguments = {"file_path": file_path, "question": question, "provider": provider, "model": model}
        async with self._place():
            with use_settings(self._settings):
                async with reported(ctx.report_progress, file_path):
                    document = json.loads(await SmartFileQueryTool().execute(arguments))
        if document["status"] != "success":
            kind = document["metadata"]["error_type"]
            raise ToolError(f"{document['content']} ({kind}; {ADVICE[kind]})")
        return Answer(answer=document["content"], **document["metadata"])

    async def migration_status(self) -> dict[str, Any]:
        """Say who serves uploads, how well both implementations do, what comparisons found, what the guard decided."""
        async with self._place():
            with use_settings(self._settings):
                return dict(await asyncio.to_thread(self._standing))

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        assert self._places is not None  # noqa: S101  # a call comes within a lifespan
        try:
            async with self._places.place():
                yield
        except BusyError as busy:
            raise ToolError(str(busy)) from None
