"""`shim rollout`: carries a migration on, stage by stage, and steers that."""

# ruff: noqa: PLC0415  # what is heavy is imported when the command runs, so that help is quick

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from migration.model import StoreError
from migration.rollout import (
    Exposure,
    Move,
    Rollout,
    RolloutController,
    RolloutPhase,
    RolloutPlan,
    RolloutStep,
    numbers_of,
    only_controller,
)
from shim.cli.conventions import CommandError, ExitCode, JsonOption, MigrationName, RunByDefault, parse_duration
from shim.cli.finding import known, settings
from shim.cli.output import clock, finish, note, plain_table, print_json, printable, say
from shim.process import who_acts

if TYPE_CHECKING:
    from shim.settings import ShimSettings

STAGES = "1,10,50,100"
HEARTBEAT_SECONDS = 60.0
"""At least so often a line says where a rollout stands, even if nothing has changed."""

_NO_FIRST = "none"
_FLEET_SETTLE = "60s"
_STYLES = {Move.HOLD: "yellow", Move.FREEZE: "yellow", Move.ROLLBACK: "red", Move.FOLLOW: "red"}

rollout_app = typer.Typer(
    cls=RunByDefault,
    help="Carry a migration from 1 to 100 % on evidence. Stage by stage; `run` may be left out, the others steer it.",
    rich_markup_mode=None,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    """What was said about a rollout; None is the default. The words are those of the options."""

    stages: str | None
    soak: str | None
    margin: float | None
    alpha: float | None
    hold_back: int | None
    first_instance: str | None
    settle: str | None
    stale: str | None
    manual: bool | None

    @property
    def is_made(self) -> bool:
        """Whether anything was said."""
        return any(value is not None for value in asdict(self).values())


@rollout_app.command("run")
def rollout_run(
    name: MigrationName,
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
    json: JsonOption = False,
) -> int:
    """Begin a rollout, or go on with the running one. Until it is over; Ctrl-C leaves it where it is."""
    choice = _Choice(
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
    configured, who, controller = settings(), who_acts(), _controller(name)
    try:
        with only_controller(configured.shim_home, name, who=who):
            _begin(controller, choice, configured, who=who)
            return _carry_on(controller, every=every, as_json=json)
    except KeyboardInterrupt:
        note(f"{name} stays where it is; `shim rollout {name}` goes on with it")
        return ExitCode.INTERRUPTED


@rollout_app.command("status")
def rollout_status(name: MigrationName, *, json: JsonOption = False) -> int:
    """Show where a rollout stands."""
    return _show(_controller(name).rollout(), as_json=json)


@rollout_app.command("approve")
def rollout_approve(name: MigrationName, *, json: JsonOption = False) -> int:
    """Let a rollout with --manual take the next step. It does so as soon as everything else allows that."""
    return _show(_controller(name).approve(by=who_acts()), as_json=json)


@rollout_app.command("pause")
def rollout_pause(name: MigrationName, *, json: JsonOption = False) -> int:
    """Hold a rollout where it is."""
    return _show(_controller(name).pause(by=who_acts()), as_json=json)


@rollout_app.command("resume")
def rollout_resume(name: MigrationName, *, json: JsonOption = False) -> int:
    """Let a paused rollout go on."""
    return _show(_controller(name).resume(by=who_acts()), as_json=json)


@rollout_app.command("complete")
def rollout_complete(name: MigrationName, *, json: JsonOption = False) -> int:
    """End the last stage: nothing is held back on legacy any more."""
    return _show(_controller(name).complete(by=who_acts()), as_json=json)


@rollout_app.command("abort")
def rollout_abort(
    name: MigrationName,
    *,
    because: Annotated[str, typer.Option(metavar="REASON", help="Kept in the flag's description.")] = "by hand",
    json: JsonOption = False,
) -> int:
    """Take a rollout back: the flag is turned off and set to 0 %."""
    controller = _controller(name)
    rollout = controller.abort(because=because, by=who_acts())
    if controller.problem is not None:
        note(f"the flag could not be changed ({controller.problem}); `shim rollout {name}` tries it again")
        return ExitCode.FLAGS
    return _show(rollout, as_json=json)


def _plan_of(choice: _Choice, settings: ShimSettings) -> RolloutPlan:
    """The plan that a choice amounts to.

    Raises:
        migration.MigrationError: it is none that can be carried out.
    """
    is_fleet = settings.shim_prometheus_url is not None
    first = choice.first_instance or (settings.shim_instance if is_fleet else _NO_FIRST)
    shares = tuple(Exposure.parse(text.strip()) for text in (choice.stages or STAGES).split(","))
    settle = choice.settle or (_FLEET_SETTLE if is_fleet else None)
    chosen: dict[str, Any] = {
        "soak": None if choice.soak is None else parse_duration(choice.soak),
        "margin": None if choice.margin is None else choice.margin / 100,
        "alpha": choice.alpha,
        "hold_back": choice.hold_back,
        "settle": None if settle is None else parse_duration(settle),
        "stale": None if choice.stale is None else parse_duration(choice.stale),
        "manual": choice.manual,
    }
    stages = shares if first == _NO_FIRST else (Exposure(100.0, first), *shares)
    return RolloutPlan(stages=stages, **{name: value for name, value in chosen.items() if value is not None})


def _begin(controller: RolloutController, choice: _Choice, settings: ShimSettings, *, who: str) -> None:
    known = controller.known()
    if known is None or known.phase.is_over:
        if known is None or known.changed is not None:
            controller.begin(_plan_of(choice, settings), by=who)
    elif choice.is_made and _plan_of(choice, settings) != known.plan:
        raise CommandError(
            f"a rollout of {controller.migration} is running with another plan; go on with it by "
            f"`shim rollout {controller.migration}`, or abort it first",
            ExitCode.USAGE,
        )


def _carry_on(controller: RolloutController, *, every: float, as_json: bool) -> int:
    with _showing(as_json=as_json) as show:
        while True:
            try:
                rollout, step = controller.look()
            except StoreError as error:  # nothing was decided, nothing changed: hold
                note(f"{error}; it is tried again")
            else:
                show(rollout, step, controller.problem)
                if step.move is Move.END:
                    return ExitCode.OK if rollout.phase is RolloutPhase.COMPLETED else ExitCode.FAILED
            time.sleep(every)


def _controller(name: str) -> RolloutController:
    from shim.wiring import open_rollout

    return open_rollout(settings(), known(name))


def _show(rollout: Rollout, *, as_json: bool) -> int:
    return finish(_as_data(rollout), _status_text(rollout), as_json=as_json)


# What is shown: a living picture in a terminal, lines elsewhere, JSON for machines

_Show = Callable[[Rollout, RolloutStep, str | None], None]


@contextmanager
def _showing(*, as_json: bool) -> Iterator[_Show]:
    """Gives what shows each look."""
    console = Console(highlight=False)
    if as_json:
        yield _Changes(_print_document)
    elif console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            yield lambda rollout, step, problem: live.update(_picture(rollout, step, problem), refresh=True)
    else:
        yield _Changes(_print_line)


def _as_data(rollout: Rollout) -> dict[str, object]:
    """Where a rollout stands, for machines."""
    return {
        "migration": rollout.migration,
        "phase": rollout.phase,
        "stage": rollout.stage + 1,
        "stages": [str(stage) for stage in rollout.plan.stages],
        "exposure": str(rollout.exposure),
        "began": rollout.began,
        "entered": rollout.entered,
        "paused": rollout.paused,
        "flag_changed": rollout.changed is not None,
        "because": rollout.because,
        "numbers": dict(numbers_of(rollout)),
    }


def _status_text(rollout: Rollout) -> str:
    """Where a rollout stands, for people."""
    paused = ", paused" if rollout.paused else ""
    numbers = numbers_of(rollout)
    return (
        f"{rollout.because or f'{rollout.migration} is {rollout.phase.value}{paused}.'}\n"
        f"  stage {rollout.stage + 1} of {len(rollout.plan.stages)}, {rollout.exposure} of the calls"
        f"{'' if rollout.changed else ' (the flag is still to be changed)'}\n"
        f"  candidate: {numbers['candidate.errors']} of {numbers['candidate.calls']} calls failed\n"
        f"  legacy:    {numbers['legacy.errors']} of {numbers['legacy.calls']} calls failed\n"
        f"  the candidate fails at most {100 * float(numbers['harm']):.2f} points more often"
    )


class _Changes:
    """Passes on what has changed, and everything now and then."""

    def __init__(self, show: _Show) -> None:
        self._show = show
        self._last: tuple[object, ...] = ()
        self._shown_at = 0.0

    def __call__(self, rollout: Rollout, step: RolloutStep, problem: str | None) -> None:
        this = (rollout.phase, rollout.stage, rollout.changed is None, step.move, step.reason, problem)
        if this != self._last or time.monotonic() - self._shown_at >= HEARTBEAT_SECONDS:
            self._show(rollout, step, problem)
            self._last, self._shown_at = this, time.monotonic()


def _print_document(rollout: Rollout, step: RolloutStep, problem: str | None) -> None:
    said = {"move": step.move, "reason": step.reason, "sentence": step.sentence, "problem": problem}
    print_json({"at": time.time(), **_as_data(rollout), **said})


def _print_line(_rollout: Rollout, step: RolloutStep, problem: str | None) -> None:
    trouble = f" (the flag could not be changed: {problem}; it is tried again)" if problem else ""
    say(f"{clock(time.time())}  {step.sentence}{trouble}")


def _picture(rollout: Rollout, step: RolloutStep, problem: str | None) -> RenderableType:
    sides = (rollout.counts.candidate, rollout.counts.legacy)
    rows: list[Sequence[str | Text]] = [
        (
            Text(str(stage), "bold" if number == rollout.stage else "" if number < rollout.stage else "dim"),
            _mark(rollout, number),
            *(f"{side.calls}, {side.bad} failed" if number == rollout.stage else "" for side in sides),
        )
        for number, stage in enumerate(rollout.plan.stages)
    ]
    table = plain_table(("stage", "", "calls of the candidate", "of legacy"), rows)
    lines: list[RenderableType] = [table, Text(printable(step.sentence), _STYLES.get(step.move, ""))]
    if problem:
        lines.append(Text(f"the flag could not be changed: {printable(problem)}; it is tried again", "red"))
    return Group(*lines)


def _mark(rollout: Rollout, number: int) -> str:
    if number < rollout.stage or rollout.phase is RolloutPhase.COMPLETED:
        return "passed"
    if number > rollout.stage:
        return ""
    if rollout.phase.is_over:
        return rollout.phase.value.replace("_", " ")
    if rollout.entered is None:
        return "settling"
    left = rollout.entered + rollout.plan.soak - time.time()
    return f"since {clock(rollout.entered)}" + (f", {left:,.0f} s to go" if left > 0 else ", soaked")
