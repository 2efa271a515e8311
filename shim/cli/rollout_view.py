"""What `shim rollout` shows: a living picture in a terminal, lines elsewhere, JSON for machines."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from migration.rollout import Move, Rollout, RolloutPhase, RolloutStep, numbers_of
from shim.cli.output import print_json, printable, say

HEARTBEAT_SECONDS = 60.0
"""At least so often a line says where a rollout stands, even if nothing has changed."""

Show = Callable[[Rollout, RolloutStep, str | None], None]

_STYLES = {
    Move.HOLD: "yellow",
    Move.FREEZE: "yellow",
    Move.ROLLBACK: "red",
    Move.FOLLOW: "red",
}


@contextmanager
def showing(*, as_json: bool) -> Iterator[Show]:
    """Gives what shows each look."""
    console = Console(highlight=False)
    if as_json:
        yield _Changes(_print_document)
    elif console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            yield lambda rollout, step, problem: live.update(_picture(rollout, step, problem), refresh=True)
    else:
        yield _Changes(_print_line)


def as_data(rollout: Rollout) -> dict[str, object]:
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


def standing_text(rollout: Rollout) -> str:
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

    def __init__(self, show: Show) -> None:
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
    print_json({"at": time.time(), **as_data(rollout), **said})


def _print_line(_rollout: Rollout, step: RolloutStep, problem: str | None) -> None:
    trouble = f" (the flag could not be changed: {problem}; it is tried again)" if problem else ""
    say(f"{_clock(time.time())}  {step.sentence}{trouble}")


def _picture(rollout: Rollout, step: RolloutStep, problem: str | None) -> RenderableType:
    table = Table("stage", "", "calls of the candidate", "of legacy", box=None, header_style="bold")
    for number, stage in enumerate(rollout.plan.stages):
        counts = rollout.counts
        here = number == rollout.stage
        table.add_row(
            Text(str(stage), "bold" if here else "" if number < rollout.stage else "dim"),
            _mark(rollout, number),
            f"{counts.candidate.calls}, {counts.candidate.bad} failed" if here else "",
            f"{counts.legacy.calls}, {counts.legacy.bad} failed" if here else "",
        )
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
    return f"since {_clock(rollout.entered)}" + (f", {left:,.0f} s to go" if left > 0 else ", soaked")


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%H:%M:%S")
