"""The tables in Supabase's Postgres, as SQL that ships with the program. They can be applied again at any time."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

_SUFFIX = ".sql"


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaStep:
    """One step.

    Attributes:
        name: its number and what it makes.
        sql: for Supabase's SQL editor, or `psql`.
    """

    name: str
    sql: str


def migrations() -> list[SchemaStep]:
    """All steps, in their order."""
    found = sorted(
        (file for file in files(__name__).iterdir() if file.name.endswith(_SUFFIX)), key=lambda file: file.name
    )
    return [SchemaStep(name=file.name.removesuffix(_SUFFIX), sql=file.read_text(encoding="utf-8")) for file in found]
