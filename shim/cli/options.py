"""Arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON, one document on one line, and nothing else.")
]
JUnitOption = Annotated[
    Path | None, typer.Option("--junit", metavar="FILE", help="Also write the result to FILE as JUnit XML.")
]
MigrationName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the migration.")]
