"""`shim remove`: the patch that ends a migration."""

# ruff: noqa: PLC0415  # what is heavy is imported when the command runs, so that help is quick

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from shim.cli.exits import CommandError, ExitCode
from shim.cli.finding import found
from shim.cli.options import JsonOption, MigrationName, MigrationsOption, SourceOption
from shim.cli.output import note, print_json


def remove(
    name: MigrationName,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the patch, and change nothing.")] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Change the files.")] = False,
    source: SourceOption = Path(),
    migrations: MigrationsOption = None,
    json: JsonOption = False,
) -> int:
    """Replace shim and legacy by the new implementation. Callers stay as they are."""
    from shim.removal.declarations import one_declared
    from shim.removal.removal import removal
    from shim.removal.sources import SourceTree

    if apply == dry_run:
        raise CommandError("say --dry-run to see the patch, or --apply to change the files", ExitCode.USAGE)
    root = source.resolve()
    patch = removal(SourceTree(root), one_declared(name, migrations or found().reference, root))
    if apply:
        patch.apply()
    files = [change.file.relative for change in patch.changes]
    if json:
        document = {"migration": name, "applied": apply, "files": files, "by_hand": patch.by_hand, "patch": patch.patch}
        print_json(document)
        return ExitCode.OK
    if dry_run:
        sys.stdout.write(patch.patch)  # as it is: a patch must be exact
    did = "changed" if apply else "nothing was changed; --apply would change"
    for sentence in (f"{did} {', '.join(files)}; let your formatter and your tests run over them", *patch.by_hand):
        note(sentence)
    return ExitCode.OK
