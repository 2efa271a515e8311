"""What can be typed to look on: at this moment, or in a file for others."""

# ruff: noqa: PLC0415  # each command is imported when it is used, so that help is quick

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shim.cli.options import JsonOption, MigrationName

view_app = typer.Typer(rich_markup_mode=None)


@view_app.command()
def top(
    *,
    window: Annotated[int, typer.Option(min=1, max=3600, metavar="SECONDS", help="Show so many seconds.")] = 60,
    json: JsonOption = False,
) -> int:
    """Show what both sides do at this moment, until Ctrl-C. With --json, or without a terminal, once."""
    from shim.cli.top import run

    return run(window=window, as_json=json)


@view_app.command()
def report(
    name: MigrationName,
    *,
    since: Annotated[str, typer.Option(metavar="TIME", help="Look back so far: 90s, 15m, 2h, 3d, ...")] = "30d",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Default: NAME-report.html, here.")
    ] = None,
    json: JsonOption = False,
) -> int:
    """Write one HTML file about a migration. It needs nothing else, and can be attached to a change review."""
    from shim.cli.report import run

    return run(name, since=since, output=output, as_json=json)
