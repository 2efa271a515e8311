"""Runs live shadows: the other side of a call really runs, is compared by reading back, and is undone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

from migration.model.errors import TrialRefusedError
from migration.model.model import Comparison, Notice, NoticeKind, Operation, Outcome, Role, ShadowMode, Side, Verdict
from migration.model.ports import LiveRecording, SideEffects, Trial
from migration.model.taxonomy import ErrorKind
from migration.running.in_flight import side_context
from migration.running.observers import Observers
from migration.shadow.comparing import judged_facts, too_large, with_rules_applied
from migration.shadow.facts import Facts, flatten, outcome_facts
from migration.shadow.isolated import IsolatedRunner, Shadow

TRANSIENT = frozenset(
    {
        ErrorKind.TIMEOUT,
        ErrorKind.CONNECTION,
        ErrorKind.CONNECTION_LOST,
        ErrorKind.RATE_LIMITED,
        ErrorKind.SERVER_FAILED,
        ErrorKind.BAD_ANSWER,
        ErrorKind.RESOURCE,
        ErrorKind.CANCELLED,
    }
)
"""Kinds of errors that a run a moment later may not meet, so that they are no basis for a comparison."""

LIVE_READS = 2
"""How often a live comparison reads the input: once to copy it, and once in the run."""


class LiveRunner:
    """Compares calls of migrations that are declared `LIVE` or `KEPT`.

    Attributes:
        kept: runs of which everything was kept.

    Args:
        observers: see the runs, and are told of what could not be undone.
        isolated: runs the sides.
    """

    def __init__(self, observers: Observers, isolated: IsolatedRunner) -> None:
        self.kept = 0
        self._observers = observers
        self._isolated = isolated

    async def compared(self, shadow: Shadow) -> Comparison:
        """Run the live shadow of this call and compare; `DROPPED`, with the reason, if that is not possible."""
        no_basis = _no_basis(shadow)
        if no_basis is not None:
            return shadow.dropped(no_basis)
        try:
            async with self._trial(shadow) as trial:
                return await self._in_time(shadow, trial)
        except TrialRefusedError as refused:
            return shadow.dropped(str(refused))

    @asynccontextmanager
    async def _trial(self, shadow: Shadow) -> AsyncIterator[Trial]:
        """A trial; what could not be undone is told to the operators, however it ends."""
        recording = cast("LiveRecording", shadow.recording)  # its refusal was asked, and the declaration's mode is real
        entered: Trial | None = None
        try:
            async with recording.trial(shadow.side.other) as entered:
                yield entered
        finally:
            for trouble in () if entered is None else entered.troubles():
                self._observers.noticed(
                    Notice(kind=NoticeKind.SHADOW_LEFT, migration=shadow.migration.name, text=trouble)
                )

    async def _in_time(self, shadow: Shadow, trial: Trial) -> Comparison:
        deadline = asyncio.timeout(trial.seconds)
        try:
            async with deadline:
                return await self._compare(shadow, trial)
        except TimeoutError:
            if not deadline.expired():
                raise
            return shadow.dropped(f"the shadow was not finished and read back within {trial.seconds:g} s")

    async def _compare(self, shadow: Shadow, trial: Trial) -> Comparison:
        assert shadow.recording is not None  # noqa: S101  # without one there is no trial
        if shadow.recording.stale():
            return shadow.comparison(Verdict.STALE_INPUT, detail="the input changed after the call")
        outcome, trace = await self._run(shadow, trial)
        made = await trial.read_back()
        comparison = shadow.comparison(
            **judged_facts(shadow.migration, *_facts(shadow, trial, outcome, made)),
            detail=f"not compared: {'; '.join(made.not_compared)}" if made.not_compared else "",
            shadow_seconds=outcome.seconds,
            shadow_trace=trace,
        )
        if shadow.migration.mode is ShadowMode.KEPT and outcome.error is None:
            trial.keep()
            self.kept += 1
        if shadow.late and comparison.verdict is Verdict.DIFFERENT:
            return shadow.comparison(
                Verdict.DROPPED, differences=comparison.differences, detail=f"{too_large(shadow)}: it differs"
            )
        return with_rules_applied(shadow.migration, comparison, self._observers)

    async def _run(self, shadow: Shadow, trial: Trial) -> tuple[Outcome[Any], str | None]:
        side = shadow.side.other
        run = Operation(call=shadow.call, decision=shadow.decision, side=side, role=Role.SHADOW, link=shadow.trace)
        with side_context(side, candidate=shadow.candidate), self._observers.operation(run):
            outcome = await self._isolated.run(shadow, side, trial.args, trial.kwargs)
            run.outcome = shadow.migration.classified(outcome)
        return run.outcome, run.trace


def _no_basis(shadow: Shadow) -> str | None:
    """Why the primary's outcome is no basis for a comparison; None if it is."""
    kind = shadow.facts.get("error.kind")
    if kind is None:
        return None
    if shadow.migration.mode is ShadowMode.KEPT:
        return f"{shadow.side} failed, so there is nothing to be done twice"
    if kind in TRANSIENT:
        return f"{shadow.side} failed with a transient error ({kind}), which {shadow.side.other} need not meet"
    return None


def _facts(shadow: Shadow, trial: Trial, outcome: Outcome[Any], made: SideEffects) -> tuple[Facts, Facts]:
    """All facts of legacy, and all facts of the candidate."""
    outcomes: Mapping[Side, Facts] = {
        shadow.side: shadow.facts,
        shadow.side.other: outcome_facts(shadow.migration, outcome),
    }
    things = {shadow.side: made.primary, shadow.side.other: made.other}
    legacy, candidate = ({**trial.plain(side, outcomes[side]), **flatten("made", things[side])} for side in Side)
    return legacy, candidate
