"""`shim report`: everything about a migration in one HTML file."""

# ruff: noqa: PLC0415  # what is heavy is imported when the command runs, so that help is quick

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shim.cli.exits import CommandError
from shim.cli.finding import known, settings
from shim.cli.options import JsonOption, MigrationName, parse_duration
from shim.cli.output import finish


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
    from shim.report import gather, page

    found = gather(settings(), known(name), seconds=parse_duration(since))
    path = output or Path(f"{name}-report.html")
    try:
        written = path.write_text(page(found), encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror}; choose another place with --output") from error
    document = {"migration": name, "file": str(path), "characters": written}
    return finish(document, f"{path} ({written / 1_000_000:.1f} MB, needs nothing else)", as_json=json)
