"""`shim demo`: the demonstration, shown while it runs."""

# ruff: noqa: PLC0415  # what is heavy is imported when the command runs, so that help is quick

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from shim.cli.conventions import ExitCode, JsonOption
from shim.cli.output import print_json


def demo(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE", help="Default: documents of this repository.")
    ] = None,
    *,
    uploads: Annotated[int, typer.Option(min=1, max=5000, help="Uploads at each percentage.")] = 120,
    big_megabytes: Annotated[int, typer.Option(min=1, max=100, help="Size of the one large file.")] = 50,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show each comparison.")] = False,
    json: JsonOption = False,
) -> int:
    """Show the migration on real files, in a sandbox. From 0 to 1, 10, 50, 100 % and back, in about a minute."""
    from tools.demo import DemoOptions, DemoView, run_demo

    view = DemoView(Console(stderr=json, highlight=False, soft_wrap=True), verbose=verbose)
    with view.progress:
        result = run_demo(DemoOptions(files=tuple(files or ()), uploads=uploads, big_megabytes=big_megabytes), view)
    if json:
        print_json({"ok": result.ok, **asdict(result)})
    else:
        view.summed_up(result)
    return ExitCode.OK if result.ok else ExitCode.FAILED
