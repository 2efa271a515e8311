"""`shim shadows clean`: removes what live shadows left that could not do it themselves."""

# ruff: noqa: PLC0415  # what is heavy is imported when the command runs, so that help is quick

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated

import typer

from shim.cli.conventions import ExitCode, JsonOption
from shim.cli.output import finish, local_time, plain_table

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

    cleanups = asyncio.run(clean(get_settings(), dry_run=dry_run, forget=forget))
    uncertain = any(cleanup.fate is Fate.UNCERTAIN for cleanup in cleanups)
    rows = [(local_time(each.begun), each.mark, each.fate, each.detail) for each in cleanups]
    table = plain_table(("begun", "names begin with", "", "what"), rows)
    return finish(
        [asdict(cleanup) for cleanup in cleanups],
        table if cleanups else "Live shadows have left nothing.",
        as_json=json,
        code=ExitCode.FAILED if uncertain else ExitCode.OK,
    )
