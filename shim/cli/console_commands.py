"""What can be typed about the console."""

# ruff: noqa: PLC0415  # each command is imported when it is used, so that help is quick

from __future__ import annotations

from typing import Annotated

import typer

from shim.cli.options import JsonOption

console_app = typer.Typer(rich_markup_mode=None)


@console_app.command()
def console(
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8642,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Other than the loopback, reading takes the token, too.")
    ] = "127.0.0.1",
    json: JsonOption = False,
) -> int:
    """Serve a page that shows it live, with a roll-back button. Until Ctrl-C; prints its address."""
    from shim.cli.console import run

    return run(host=host, port=port, as_json=json)
