"""What can be typed about the end of a migration."""

# ruff: noqa: PLC0415  # each command is imported when it is used, so that help is quick

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shim.cli.options import JsonOption, MigrationName

removal_app = typer.Typer(rich_markup_mode=None)

SourceOption = Annotated[
    Path, typer.Option("--source", metavar="DIR", help="Folder of the sources, from which they are imported.")
]
MigrationsOption = Annotated[
    str | None,
    typer.Option(
        "--migrations", metavar="PKG.MOD:NAME", help="The mapping of the migrations; default: the application's."
    ),
]
_HERE = Path()


@removal_app.command()
def callers(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Of this migration only.")] = None,
    *,
    source: SourceOption = _HERE,
    migrations: MigrationsOption = None,
    json: JsonOption = False,
) -> int:
    """List who calls the migrated functions. Found in the source, seen at run time, or both."""
    from shim.cli.callers import run

    return run(name, source=source, migrations=migrations, as_json=json)


@removal_app.command()
def ready(
    name: MigrationName,
    *,
    quiet: Annotated[
        str, typer.Option("--for", metavar="TIME", help="How long legacy must not have been needed: 90s, 2h, 7d, ...")
    ] = "7d",
    comparisons: Annotated[
        int, typer.Option(min=0, help="Comparisons since the candidate was last changed, at least.")
    ] = 200,
    source: SourceOption = _HERE,
    migrations: MigrationsOption = None,
    json: JsonOption = False,
) -> int:
    """Say whether legacy can go, and what is missing. Ends with 1 if anything is."""
    from shim.cli.ready import run

    return run(name, quiet=quiet, comparisons=comparisons, source=source, migrations=migrations, as_json=json)


@removal_app.command()
def remove(
    name: MigrationName,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the patch, and change nothing.")] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Change the files.")] = False,
    source: SourceOption = _HERE,
    migrations: MigrationsOption = None,
    json: JsonOption = False,
) -> int:
    """Replace shim and legacy by the new implementation. Callers stay as they are."""
    from shim.cli.remove import run

    return run(name, apply=apply, dry_run=dry_run, source=source, migrations=migrations, as_json=json)
