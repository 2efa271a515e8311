"""What can be typed about the tables in Supabase."""

# ruff: noqa: PLC0415  # each command is imported when it is used, so that help is quick

from __future__ import annotations

import typer

from shim.cli.options import JsonOption

schema_app = typer.Typer(rich_markup_mode=None)


@schema_app.command()
def schema(*, json: JsonOption = False) -> int:
    """Print the SQL of the tables in Supabase. For its SQL editor or psql; applying it again changes nothing."""
    from tools.cli.schema import run

    return run(as_json=json)
