"""What can be typed to serve assistants."""

# ruff: noqa: PLC0415  # each command is imported when it is used, so that help is quick

from __future__ import annotations

from typing import Annotated

import typer

from shim.cli.errors import CommandError
from shim.cli.exits import ExitCode

mcp_app = typer.Typer(rich_markup_mode=None)


@mcp_app.command()
def mcp(
    *,
    http: Annotated[
        bool, typer.Option("--http", help="Over HTTP on the loopback, until Ctrl-C; prints its address.")
    ] = False,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port for --http; without it, and with 0, a free one.")
    ] = None,
) -> int:
    """Serve assistants by the Model Context Protocol. Over standard input and output, or --http."""
    from shim.cli.mcp import run

    if port is not None and not http:
        raise CommandError("--port is for --http; without --http standard input and output are used", ExitCode.USAGE)
    return run(http=http, port=port or 0)
