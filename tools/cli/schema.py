"""`shim schema`: the tables in Supabase, as SQL that ships with the program."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib.resources import files

from shim.cli.conventions import ExitCode, JsonOption
from shim.cli.output import print_json, say

_SUFFIX = ".sql"


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaStep:
    """One step, which can be applied again at any time.

    Attributes:
        name: its number and what it makes.
        sql: for Supabase's SQL editor, or `psql`.
    """

    name: str
    sql: str


def schema_steps() -> list[SchemaStep]:
    """All steps, in their order."""
    folder = files("tools.journal") / "migrations"
    found = sorted((file for file in folder.iterdir() if file.name.endswith(_SUFFIX)), key=lambda file: file.name)
    return [SchemaStep(name=file.name.removesuffix(_SUFFIX), sql=file.read_text(encoding="utf-8")) for file in found]


def schema(*, json: JsonOption = False) -> int:
    """Print the SQL of the tables in Supabase. For its SQL editor or psql; applying it again changes nothing."""
    found = schema_steps()
    if json:
        print_json({"migrations": [asdict(step) for step in found]})
    else:
        say("\n".join(f"-- {step.name}\n{step.sql}" for step in found))
    return ExitCode.OK
