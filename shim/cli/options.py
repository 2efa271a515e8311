"""Arguments and options that several commands have, and groups of commands of which one may be left out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from shim.cli.exits import CommandError, ExitCode

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON, one document on one line, and nothing else.")
]
JUnitOption = Annotated[
    Path | None, typer.Option("--junit", metavar="FILE", help="Also write the result to FILE as JUnit XML.")
]
MigrationName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the migration.")]
OneMigration = Annotated[str | None, typer.Argument(metavar="NAME", help="Of this migration only.")]

SourceOption = Annotated[
    Path, typer.Option("--source", metavar="DIR", help="Folder of the sources, from which they are imported.")
]
MigrationsOption = Annotated[
    str | None,
    typer.Option(
        "--migrations", metavar="PKG.MOD:NAME", help="The mapping that declares the migrations; else the application's."
    ),
]

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_DURATION = re.compile(r"([0-9]{1,6}(?:\.[0-9]+)?)([smhd])")


def parse_duration(text: str) -> float:
    """Seconds of `90s`, `15m`, `2.5h` or `3d`.

    Raises:
        CommandError: it is none of these.
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        raise CommandError(f"a time is a number with s, m, h or d, as in 24h, not {text!r}", ExitCode.USAGE)
    return float(found[1]) * _UNITS[found[2]]


class _WithDefault(TyperGroup):
    """Takes what names none of its commands for the arguments of one of them."""

    default: str

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        known = {*self.commands, *ctx.help_option_names}
        return super().parse_args(ctx, args if args and args[0] in known else [self.default, *args])


class ListByDefault(_WithDefault):
    """`list` may be left out."""

    default = "list"


class RunByDefault(_WithDefault):
    """`run` may be left out."""

    default = "run"
