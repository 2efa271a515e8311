"""What can be typed after `shim rollout`."""

# ruff: noqa: PLC0415  # each command is imported when it is used, so that help is quick

from __future__ import annotations

from typing import Annotated

import typer

from shim.cli.groups import RunByDefault

rollout_app = typer.Typer(
    cls=RunByDefault,
    help="Carry a migration from 1 to 100 % on evidence. Stage by stage; `run` may be left out, the others steer it.",
    rich_markup_mode=None,
)

_Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the migration.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON, one document on one line, and nothing else.")]


@rollout_app.command("run")
def rollout_run(
    name: _Name,
    *,
    stages: Annotated[str | None, typer.Option(metavar="PERCENT,...", help="Default: 1,10,50,100. 0.1 works.")] = None,
    soak: Annotated[str | None, typer.Option(metavar="TIME", help="Each stage lasts at least so long; 24h.")] = None,
    margin: Annotated[
        float | None, typer.Option(metavar="POINTS", help="Percentage points by which it may fail more often; 1.")
    ] = None,
    alpha: Annotated[float | None, typer.Option(help="Probability of passing a stage in error; 0.05.")] = None,
    hold_back: Annotated[
        int | None, typer.Option(metavar="PERCENT", help="Stays on legacy at 100 % until `complete`; 0.")
    ] = None,
    first_instance: Annotated[
        str | None,
        typer.Option(
            metavar="INSTANCE", help="Begins alone; default: SHIM_INSTANCE on a fleet. `none`: no such stage."
        ),
    ] = None,
    settle: Annotated[
        str | None, typer.Option(metavar="TIME", help="After a change calls do not count for so long; 10s, fleet: 60s.")
    ] = None,
    stale: Annotated[str | None, typer.Option(metavar="TIME", help="Data older than this hold it; 10m.")] = None,
    manual: Annotated[bool, typer.Option("--manual", help="Each step waits for `shim rollout approve NAME`.")] = False,
    every: Annotated[float, typer.Option(min=0.05, max=3600, help="Seconds between two looks.")] = 5.0,
    json: _Json = False,
) -> int:
    """Begin a rollout, or go on with the one under way. Until it is over; Ctrl-C leaves it where it is."""
    from shim.cli.rollout import Choice, run

    choice = Choice(
        stages=stages,
        soak=soak,
        margin=margin,
        alpha=alpha,
        hold_back=hold_back,
        first_instance=first_instance,
        settle=settle,
        stale=stale,
        manual=manual or None,
    )
    return run(name, choice, every=every, as_json=json)


@rollout_app.command("status")
def rollout_status(name: _Name, *, json: _Json = False) -> int:
    """Show where a rollout stands."""
    from shim.cli.rollout import status

    return status(name, as_json=json)


@rollout_app.command("approve")
def rollout_approve(name: _Name, *, json: _Json = False) -> int:
    """Let a rollout with --manual take the next step. It does so as soon as everything else allows that."""
    from shim.cli.rollout import approve

    return approve(name, as_json=json)


@rollout_app.command("pause")
def rollout_pause(name: _Name, *, json: _Json = False) -> int:
    """Hold a rollout where it is."""
    from shim.cli.rollout import pause

    return pause(name, as_json=json)


@rollout_app.command("resume")
def rollout_resume(name: _Name, *, json: _Json = False) -> int:
    """Let a paused rollout go on."""
    from shim.cli.rollout import resume

    return resume(name, as_json=json)


@rollout_app.command("complete")
def rollout_complete(name: _Name, *, json: _Json = False) -> int:
    """End the last stage: nothing is held back on legacy any more."""
    from shim.cli.rollout import complete

    return complete(name, as_json=json)


@rollout_app.command("abort")
def rollout_abort(
    name: _Name,
    *,
    because: Annotated[str, typer.Option(metavar="REASON", help="Stands in the flag's description.")] = "by hand",
    json: _Json = False,
) -> int:
    """Take a rollout back: the flag is turned off and set to 0 %."""
    from shim.cli.rollout import abort

    return abort(name, because=because, as_json=json)
