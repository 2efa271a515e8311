"""`shim schema`: the tables in Supabase, as SQL."""

from __future__ import annotations

from dataclasses import asdict

from shim.cli.exits import ExitCode
from shim.cli.output import print_json, say
from tools.journal.migrations import migrations


def run(*, as_json: bool) -> int:
    """Print all migrations in their order; nothing is asked and nothing is applied."""
    found = migrations()
    if as_json:
        print_json({"migrations": [asdict(migration) for migration in found]})
    else:
        say("\n".join(f"-- {migration.name}\n{migration.sql}" for migration in found))
    return ExitCode.OK
