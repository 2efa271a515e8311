"""What can be typed about decisions: those of the guard and of rollouts, what follows from them, and drills."""

# ruff: noqa: PLC0415  # each command is imported when it is used, so that help is quick

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from shim.cli.options import JsonOption, MigrationName

guard_app = typer.Typer(rich_markup_mode=None)

Number = Annotated[int, typer.Argument(metavar="ID", help="Its number in `shim decisions`.")]


class FaultChoice(StrEnum):
    """What goes wrong in a drill; `bytes` is what `wrong` is called for uploads."""

    ERROR = "error"
    TIMEOUT = "timeout"
    HANG = "hang"
    SLOW = "slow"
    WRONG = "wrong"
    BYTES = "bytes"
    MEMORY = "memory"


@guard_app.command()
def decisions(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Of this migration only.")] = None,
    *,
    limit: Annotated[int, typer.Option(min=1, help="Show at most so many.")] = 20,
    json: JsonOption = False,
) -> int:
    """List what was decided, when, by whom and why. Promotions, freezes, rollbacks, and flags that `shim` changed."""
    from shim.cli.decisions import run

    return run(name, limit=limit, as_json=json)


@guard_app.command()
def explain(number: Number, *, json: JsonOption = False) -> int:
    """Show one decision with its figures. Also the calls behind it, and the evidence over time."""
    from shim.cli.decisions import explain as run

    return run(number, as_json=json)


@guard_app.command()
def replay(number: Number, *, json: JsonOption = False) -> int:
    """Compute a decision anew from what was recorded. Fails if it comes out differently."""
    from shim.cli.decisions import replay as run

    return run(number, as_json=json)


@guard_app.command()
def resume(
    name: MigrationName,
    *,
    because: Annotated[str, typer.Option(metavar="REASON", help="Why it is safe to go on.")],
    json: JsonOption = False,
) -> int:
    """Let a migration go on that was rolled back or frozen. Its flags decide again, and evidence begins anew."""
    from shim.cli.decisions import resume as run

    return run(name, because=because, as_json=json)


@guard_app.command()
def audit(
    name: MigrationName,
    *,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Not older than 90s, 15m, 2h, 3d, ... Default: its last stage.")
    ] = None,
    contents: Annotated[
        bool, typer.Option("--contents", help="Read every stored copy, instead of asking for its hash.")
    ] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Write rows anew, and mark those as failed that cannot be mended.")
    ] = False,
    json: JsonOption = False,
) -> int:
    """Check that what async has uploaded is there and whole. Ends with 1 if not."""
    from tools.cli.audit import run

    return run(name, since=since, contents=contents, repair=repair, as_json=json)


@guard_app.command()
def drill(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Name of the migration.")] = None,
    *,
    fault: Annotated[FaultChoice, typer.Option(help="What goes wrong.")] = FaultChoice.ERROR,
    percent: Annotated[int, typer.Option(min=1, max=50, help="Share of the calls that the candidate gets.")] = 10,
    severity: Annotated[int, typer.Option(min=1, max=100, metavar="PERCENT", help="How many of these go wrong.")] = 100,
    on_server: Annotated[
        bool, typer.Option("--on-server", help="Steer by the configured Unleash server, with flags of the drill's own.")
    ] = False,
    history: Annotated[bool, typer.Option("--history", help="List the drills so far instead.")] = False,
    json: JsonOption = False,
) -> int:
    """Let a candidate go wrong on purpose, and time the way back. Measures how soon legacy serves again."""
    from shim.cli.drill import DrillChoice, run, show_history

    if history:
        return show_history(name, as_json=json)
    choice = DrillChoice(fault=fault.value, percent=percent, severity=severity, on_server=on_server)
    return run(name, choice, as_json=json)
