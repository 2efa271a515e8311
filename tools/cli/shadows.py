"""`shim shadows clean`: removes what live shadows left that could not do it themselves."""

# ruff: noqa: PLC0415  # what is heavy is imported when the command runs, so that help is quick

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from shim.cli.exits import ExitCode
from shim.cli.options import JsonOption
from shim.cli.output import local_time, print_json, printable, show

if TYPE_CHECKING:
    from tools.shadowing import Leftover

shadows_app = typer.Typer(help="What shadows made that really uploaded (SHADOW_MODE).", rich_markup_mode=None)


@shadows_app.callback(invoke_without_command=True)
def shadows_root(context: typer.Context) -> None:
    """Without a command, show what there is."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@shadows_app.command("clean")
def shadows_clean(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Look, and remove nothing.")] = False,
    forget: Annotated[
        bool, typer.Option("--forget", help="Strike off what cannot be removed: it was looked after by hand.")
    ] = False,
    json: JsonOption = False,
) -> int:
    """Remove what live shadows left behind. Their process was killed or a service away. Ends with 1 if any stays."""
    from tools.settings import get_settings
    from tools.shadowing import Fate, clean

    leftovers = asyncio.run(clean(get_settings(), dry_run=dry_run, forget=forget))
    if json:
        print_json([asdict(leftover) for leftover in leftovers])
    elif leftovers:
        show(_table(leftovers))
    else:
        show("Live shadows have left nothing.")
    uncertain = any(leftover.fate is Fate.UNCERTAIN for leftover in leftovers)
    return ExitCode.FAILED if uncertain else ExitCode.OK


def _table(leftovers: Sequence[Leftover]) -> Table:
    table = Table("begun", "names begin with", "", "what", box=None, header_style="bold")
    for leftover in leftovers:
        cells = (local_time(leftover.begun), leftover.mark, leftover.fate, Text(printable(leftover.detail)))
        table.add_row(*cells)
    return table
