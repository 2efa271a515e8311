"""What all commands share: how they end, options and arguments, and commands that may be left out."""

from __future__ import annotations

import re
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from shim.errors import ShimError


class ExitCode(IntEnum):
    """How a command ended."""

    OK = 0
    FAILED = 1
    USAGE = 2
    CONFIGURATION = 3
    FLAGS = 4
    SANDBOX = 5
    DIFFERENT = 6
    LEFT = 7
    INTERRUPTED = 130


MEANINGS = {
    ExitCode.OK: "everything was done",
    ExitCode.FAILED: "something that was asked for could not be done",
    ExitCode.USAGE: "the command line is wrong",
    ExitCode.CONFIGURATION: "an environment variable has a wrong value or is missing",
    ExitCode.FLAGS: "the flags cannot be reached, read or written",
    ExitCode.SANDBOX: "the local sandbox cannot be used",
    ExitCode.DIFFERENT: "the two implementations differ (`compare`, `mismatches --check`)",
    ExitCode.LEFT: "something is left to be reconciled (`reconcile`)",
    ExitCode.INTERRUPTED: "interrupted",
}


class CommandError(ShimError):
    """A command cannot go on; the message says why and what to do."""

    def __init__(self, message: str, code: ExitCode = ExitCode.FAILED) -> None:
        self.code = code
        super().__init__(message)


def exit_codes_help() -> str:
    """The meanings as a list, for the end of the help."""
    lines = [f"  {code.value:>3}  {meaning}" for code, meaning in MEANINGS.items()]
    return "\b\n" + "\n".join(["Exit codes:", *lines])


def explain(error: Exception) -> CommandError:
    """The error as the person at the terminal is to see it."""
    if isinstance(error, CommandError):
        return error
    code, advice = _judge(error)
    return CommandError(" ".join(f"{error}{advice}".split()), code)


def _judge(error: Exception) -> tuple[ExitCode, str]:
    # imported when something went wrong, so that the commands that need none of these begin at once
    from flags import FlagError  # noqa: PLC0415
    from migration import MigrationError  # noqa: PLC0415
    from observability import ObservabilityError  # noqa: PLC0415

    match error:
        case ShimError():
            return ExitCode(error.exit_code), ""
        case ObservabilityError():
            return ExitCode.CONFIGURATION, ""
        case FlagError():  # a ValueError is a name or a percentage that cannot be one
            return (ExitCode.USAGE if isinstance(error, ValueError) else ExitCode.FLAGS), ""
        case MigrationError() | OSError():
            return ExitCode.FAILED, ""
        case _:
            kind = type(error).__name__
            return ExitCode.FAILED, f" (an unexpected {kind}; `shim --debug ...` shows where it comes from)"


# Arguments and options that several commands have, and groups of commands of which one may be left out.

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
