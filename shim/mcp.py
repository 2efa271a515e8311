"""Serves assistants over the Model Context Protocol: what operators ask, read-only, and what the application adds.

Calls are bounded in number. Clients reach the server as the parent of this process, or over HTTP on the loopback.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Annotated, Any

import uvicorn
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.transport_security import TransportSecuritySettings
from mcp.types import ToolAnnotations
from pydantic import Field

from shim.installation import Installation
from shim.settings import ShimSettings, use_settings

NAME = "migration-shim"

INSTRUCTIONS = (
    "migration_status says how the migrations of this machine are carried out and how well that goes; "
    "migration_explain says what was decided about them and why. Neither changes anything."
)

CALLS_AT_ONCE = 4
"""Calls that are worked on. A call that was given up keeps its thread until the work in flight has ended."""

CALLS_WAITING = 16
"""Calls that wait for their turn; further ones are refused."""

HOST = "127.0.0.1"
"""There is no password, so only this machine is served."""

PATH = "/mcp"

MAX_SESSIONS = 100
"""Clients over HTTP at once."""

DRAIN_SECONDS = 10
"""How long requests in flight may take after Ctrl-C, over HTTP."""

Read = Callable[[], Mapping[str, Any]]
"""Where the migrations stand, as plain data. May block."""

Explain = Callable[[int | None], Mapping[str, Any] | None]
"""A decision by its number, or without one the latest; None if there is no such decision. May block."""

Number = Annotated[int | None, Field(description="Number of a decision; without it the latest are listed.")]


class AssistantCalls:
    """Bounds how many calls run, and wait, at once, and puts the settings in force for each.

    Args:
        settings: for every call.
    """

    def __init__(self, settings: ShimSettings) -> None:
        self._settings = settings
        self._free: asyncio.Semaphore | None = None
        self._here = 0

    @asynccontextmanager
    async def lifespan(self, _server: MCPServer) -> AsyncIterator[None]:
        """Begin within the event loop that serves; over HTTP each session does, and all share the bounds."""
        if self._free is None:
            self._free = asyncio.Semaphore(CALLS_AT_ONCE)
            threads = ThreadPoolExecutor(CALLS_AT_ONCE, thread_name_prefix="mcp-call")
            asyncio.get_running_loop().set_default_executor(threads)
        yield

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Wait until a call may be worked on, and work on it.

        Raises:
            ToolError: too many wait already.
        """
        assert self._free is not None  # noqa: S101  # a call comes within a lifespan
        if self._here >= CALLS_AT_ONCE + CALLS_WAITING:
            raise ToolError(
                f"{CALLS_AT_ONCE} calls are in flight and {CALLS_WAITING} are waiting; "
                "ask again when one of them has ended"
            )
        self._here += 1
        try:
            async with self._free:
                with use_settings(self._settings):
                    yield
        finally:
            self._here -= 1


@dataclass(frozen=True, slots=True, kw_only=True)
class AssistantTools:
    """What an application serves beside the operators' tools.

    Attributes:
        instructions: what assistants are told about them, in sentences.
        add: adds them to the server; each works within `AssistantCalls.one`.
        serving: surrounds the time in which they are served; gives what runs in this process, if anything does.
    """

    instructions: str
    add: Callable[[MCPServer, AssistantCalls], None]
    serving: Callable[[], AbstractContextManager[Installation | None]] = nullcontext


def build_server(
    settings: ShimSettings, *, status: Read, explain: Explain, extra: Sequence[AssistantTools] = ()
) -> MCPServer:
    """The server; every call is made with `settings` in force."""
    calls = AssistantCalls(settings)
    instructions = " ".join([*(each.instructions for each in extra), INSTRUCTIONS])
    server = MCPServer(NAME, instructions=instructions, lifespan=calls.lifespan, log_level="WARNING")
    for each in extra:
        each.add(server, calls)
    _add_operators_tools(server, calls, status, explain)
    return server


def _add_operators_tools(server: MCPServer, calls: AssistantCalls, status: Read, explain: Explain) -> None:
    """The tools' docstrings are what clients are told of them."""

    async def migration_status() -> dict[str, Any]:
        """Say who serves the migrated calls, how well both sides do, what comparisons found, what the guard decided."""
        async with calls.one():
            return dict(await asyncio.to_thread(status))

    async def migration_explain(decision: Number = None) -> dict[str, Any]:
        """Explain a decision: what was done when, by whom and why, the figures, the evidence and the bad calls."""
        async with calls.one():
            found = await asyncio.to_thread(explain, decision)
        if found is None:
            raise ToolError(f"there is no decision {decision}; without a number the latest are listed")
        return dict(found)

    only_reads = ToolAnnotations(read_only_hint=True, open_world_hint=False)
    server.add_tool(migration_status, title="Where the migrations stand", annotations=only_reads)
    server.add_tool(migration_explain, title="Why something was decided", annotations=only_reads)


def serve_stdio(server: MCPServer) -> None:
    """Serve the process that started this one until it closes standard input."""
    server.run("stdio")


def serve_http(server: MCPServer, *, port: int, on_ready: Callable[[str], None]) -> None:
    """Serve streamable HTTP on the loopback until interrupted.

    Requests that name another host, or come from a web page of another origin, are refused: a page that is open in a
    browser must not be able to ask about this machine.

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
        config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=DRAIN_SECONDS)
        on_ready(f"http://{HOST}:{number}{PATH}")
        asyncio.run(uvicorn.Server(config).serve(sockets=[listening]))
