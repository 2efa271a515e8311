"""`shim rollout`: carries a migration on, stage by stage, and steers that."""

from __future__ import annotations

import re
import time
from dataclasses import asdict, dataclass
from typing import Any

from migration.model import StoreError
from migration.rollout import (
    Exposure,
    Move,
    Rollout,
    RolloutController,
    RolloutPhase,
    RolloutPlan,
    only_controller,
)
from shim.cli.errors import CommandError
from shim.cli.exits import ExitCode
from shim.cli.output import note, print_json, say
from shim.cli.rollout_view import as_data, showing, standing_text
from shim.process import who_acts
from shim.wiring import open_rollout
from tools.migrations import NAMES
from tools.settings import Settings, get_settings

STAGES = "1,10,50,100"
_NOBODY = "none"
_FLEET_SETTLE = "60s"
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhd])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
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


def run(name: str, choice: Choice, *, every: float, as_json: bool) -> int:
    """Begin a rollout or go on with it, until it is over.

    Raises:
        CommandError: no such migration is declared, or something else was begun than is asked for.
        migration.MigrationError: another process carries it on, or it cannot begin.
    """
    settings, who = get_settings(), who_acts()
    controller = _controller(name)
    try:
        with only_controller(settings.shim_home, name, who=who):
            _begin(controller, choice, settings, who=who)
            return _carry_on(controller, every=every, as_json=as_json)
    except KeyboardInterrupt:
        note(f"{name} stays where it is; `shim rollout {name}` goes on with it")
        return ExitCode.INTERRUPTED


def status(name: str, *, as_json: bool) -> int:
    """Show where a rollout stands."""
    return _show(_controller(name).rollout(), as_json=as_json)


def approve(name: str, *, as_json: bool) -> int:
    """Let the next step be taken."""
    return _show(_controller(name).approve(by=who_acts()), as_json=as_json)


def pause(name: str, *, as_json: bool) -> int:
    """Hold it."""
    return _show(_controller(name).pause(by=who_acts()), as_json=as_json)


def resume(name: str, *, as_json: bool) -> int:
    """Let it go on."""
    return _show(_controller(name).resume(by=who_acts()), as_json=as_json)


def complete(name: str, *, as_json: bool) -> int:
    """Let the last stage end."""
    return _show(_controller(name).complete(by=who_acts()), as_json=as_json)


def abort(name: str, *, because: str, as_json: bool) -> int:
    """Take it back."""
    controller = _controller(name)
    rollout = controller.abort(because=because, by=who_acts())
    if controller.problem is not None:
        note(f"the flag could not be changed ({controller.problem}); `shim rollout {name}` tries it again")
        return ExitCode.FLAGS
    return _show(rollout, as_json=as_json)


def plan_of(choice: Choice, settings: Settings) -> RolloutPlan:
    """The plan that a choice amounts to.

    Raises:
        migration.MigrationError: it is none that can be carried out.
    """
    is_fleet = settings.shim_prometheus_url is not None
    first = choice.first_instance or (settings.shim_instance if is_fleet else _NOBODY)
    shares = tuple(Exposure.parse(text.strip()) for text in (choice.stages or STAGES).split(","))
    settle = choice.settle or (_FLEET_SETTLE if is_fleet else None)
    chosen: dict[str, Any] = {
        "soak": None if choice.soak is None else _seconds(choice.soak),
        "margin": None if choice.margin is None else choice.margin / 100,
        "alpha": choice.alpha,
        "hold_back": choice.hold_back,
        "settle": None if settle is None else _seconds(settle),
        "stale": None if choice.stale is None else _seconds(choice.stale),
        "manual": choice.manual,
    }
    stages = shares if first == _NOBODY else (Exposure(100.0, first), *shares)
    return RolloutPlan(stages=stages, **{name: value for name, value in chosen.items() if value is not None})


def _begin(controller: RolloutController, choice: Choice, settings: Settings, *, who: str) -> None:
    known = controller.known()
    if known is None or known.phase.is_over:
        if known is None or known.changed is not None:
            controller.begin(plan_of(choice, settings), by=who)
    elif choice.is_made and plan_of(choice, settings) != known.plan:
        raise CommandError(
            f"a rollout of {controller.migration} is under way with another plan; go on with it by "
            f"`shim rollout {controller.migration}`, or abort it first",
            ExitCode.USAGE,
        )


def _carry_on(controller: RolloutController, *, every: float, as_json: bool) -> int:
    with showing(as_json=as_json) as show:
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
    if name not in NAMES:
        raise CommandError(f"no migration is called {name!r}; there are {', '.join(NAMES)}", ExitCode.USAGE)
    return open_rollout(get_settings(), name)


def _show(rollout: Rollout, *, as_json: bool) -> int:
    if as_json:
        print_json(as_data(rollout))
    else:
        say(standing_text(rollout))
    return ExitCode.OK


def _seconds(text: str) -> float:
    found = _DURATION.fullmatch(text)
    if found is None:
        raise CommandError(f"a time is a number with s, m, h or d, as in 24h, not {text!r}", ExitCode.USAGE)
    return float(found[1]) * _UNITS[found[2]]
