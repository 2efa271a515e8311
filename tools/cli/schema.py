"""`shim schema`: the tables in Supabase, as SQL."""

from __future__ import annotations

from dataclasses import asdict

from shim.cli.options import JsonOption
from shim.cli.output import finish


def schema(*, json: JsonOption = False) -> int:
    """Print the SQL of the tables in Supabase. For its SQL editor or psql; applying it again changes nothing."""
    from tools.journal.migrations import migrations  # noqa: PLC0415  # heavy, and help needs none of it

    found = migrations()
    document = {"migrations": [asdict(migration) for migration in found]}
    return finish(document, *(f"-- {migration.name}\n{migration.sql}" for migration in found), as_json=json)
