"""What can be typed after `shim flags`."""

# ruff: noqa: PLC0415  # each command is imported when it is used, so that help is quick

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from shim.cli.exits import ExitCode
from shim.cli.options import JsonOption

flags_app = typer.Typer(
    help="Show and change who serves. The flags are in a local file, or on the Unleash server that is configured.",
    rich_markup_mode=None,
)
FlagName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the flag.")]


class MigrationStage(StrEnum):
    """How far a migration is."""

    OFF = "off"
    DUALWRITE = "dualwrite"
    SHADOW = "shadow"
    LIVE = "live"
    RAMPDOWN = "rampdown"
    COMPLETE = "complete"


@flags_app.callback(invoke_without_command=True)
def flags_root(context: typer.Context) -> int:
    """Without a command, show all flags."""
    from shim.cli import flags

    return flags.show_all(as_json=False) if context.invoked_subcommand is None else ExitCode.OK


@flags_app.command("list")
def flags_list(*, json: JsonOption = False) -> int:
    """Show all flags."""
    from shim.cli import flags

    return flags.show_all(as_json=json)


@flags_app.command("show")
def flags_show(name: FlagName, *, json: JsonOption = False) -> int:
    """Show one flag."""
    from shim.cli import flags

    return flags.show(name, as_json=json)


@flags_app.command("create")
def flags_create(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Default: those of all migrations and of their shadows.")
    ] = None,
    *,
    json: JsonOption = False,
) -> int:
    """Create flags, on with 0 %. One that exists stays as it is."""
    from shim.cli import flags

    return flags.create(name, as_json=json)


@flags_app.command("set")
def flags_set(
    name: FlagName,
    percent: Annotated[int, typer.Argument(metavar="PERCENT", help="Whole number from 0 to 100.")],
    *,
    json: JsonOption = False,
) -> int:
    """Set the percentage of a flag."""
    from shim.cli import flags

    return flags.set_percentage(name, percent, as_json=json)


@flags_app.command("stage")
def flags_stage(
    name: FlagName,
    stage: MigrationStage,
    *,
    percent: Annotated[
        int, typer.Option(min=1, max=100, help="Calls that take the step: are compared, or from `live` on answered.")
    ] = 100,
    json: JsonOption = False,
) -> int:
    """Set both flags of a migration as a stage needs them. These are NAME and NAME.shadow."""
    from shim.cli import flags

    return flags.set_stage(name, stage.value, percent=percent, as_json=json)


@flags_app.command("on")
def flags_on(name: FlagName, *, json: JsonOption = False) -> int:
    """Turn a flag on, with the percentage that it has."""
    from shim.cli import flags

    return flags.turn_on(name, as_json=json)


@flags_app.command("off")
def flags_off(
    name: FlagName,
    *,
    because: Annotated[
        str, typer.Option(metavar="REASON", help="Kept in the flag's description and among the decisions.")
    ] = "",
    json: JsonOption = False,
) -> int:
    """Turn a flag off: everything is served by legacy."""
    from shim.cli import flags

    return flags.turn_off(name, reason=because, as_json=json)
