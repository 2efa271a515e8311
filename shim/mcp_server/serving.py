"""How clients reach the server: as the parent of this process, or over HTTP on the loopback."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import uvicorn
from mcp.server.mcpserver import MCPServer
from mcp.server.transport_security import TransportSecuritySettings

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
