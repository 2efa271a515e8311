"""What can be typed after `shim reconcile`."""

# ruff: noqa: PLC0415  # each command is imported when it is used, so that help is quick

from __future__ import annotations

from typing import Annotated

import typer

from shim.cli.options import JsonOption

reconcile_app = typer.Typer(rich_markup_mode=None)


@reconcile_app.command()
def reconcile(
    *,
    apply: Annotated[bool, typer.Option("--apply", help="Do it; else it is only shown what would be done.")] = False,
    orphans: Annotated[
        bool, typer.Option("--orphans", help="Also look for files, copies and rows that belong to no upload.")
    ] = False,
    older_than: Annotated[
        str, typer.Option(metavar="TIME", help="Orphans that are younger are left alone; 30m, 2h, 7d.")
    ] = "1h",
    json: JsonOption = False,
) -> int:
    """Bring uploads to an end that a crash has left open. Finds out what became of them. Ends with 7 if any is left."""
    from tools.cli.reconcile import run

    return run(apply=apply, orphans=orphans, older_than=older_than, as_json=json)
