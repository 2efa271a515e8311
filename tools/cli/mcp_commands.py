"""What can be typed to serve assistants."""

# ruff: noqa: PLC0415  # each command is imported when it is used, so that help is quick

from __future__ import annotations

from typing import Annotated

import typer

mcp_app = typer.Typer(rich_markup_mode=None)


@mcp_app.command()
def mcp(
    *,
    http: Annotated[
        bool, typer.Option("--http", help="Over HTTP on the loopback, until Ctrl-C; prints its address.")
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port for --http; 0 takes a free one.")] = 0,
) -> int:
    """Serve smart_file_query to assistants (Model Context Protocol), over standard input and output."""
    from tools.cli.mcp import run

    return run(http=http, port=port)
