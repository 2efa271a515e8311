"""Decides what a rollout does next. Pure: the same state and the same situation lead to the same step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

from migration.guard.evidence import FREEZE_AT, ROLLBACK_AT
from migration.rollout.counts import evidence_of, harm_bound, ratio_evidence
from migration.rollout.model import Move, Rollout, RolloutPhase, RolloutStep, Situation, StageCounts

RATIO_ALARM_AT = 1000.0
"""Evidence that calls are not routed in the intended shares; if they are, 1 stage in 1000 ever reaches it."""


def next_step(rollout: Rollout, seen: Situation) -> RolloutStep:
    """The next step. Data that are missing, unknown or old hold the rollout and never promote it."""
    numbers = numbers_of(rollout)
    move, reason, text = next(_findings(rollout, seen, numbers))
    sentence = rollout.because if move is Move.END else f"{rollout.migration} {text}."
    return RolloutStep(move=move, reason=reason, sentence=sentence, numbers=numbers)


def grounds(rollout: Rollout, seen: Situation) -> dict[str, object]:
    """What `next_step` has decided by, as plain data, for `replay_step`."""
    counts = replace(rollout.counts, last={})  # only for counting on, and large
    return {"rollout": replace(rollout, counts=counts).state(), "seen": asdict(seen)}


def replay_step(start: Mapping[str, Any]) -> RolloutStep:
    """The step that `next_step` decides by what `grounds` wrote down."""
    return next_step(Rollout.restored(start["rollout"]), Situation.restored(start["seen"]))


def after(rollout: Rollout, step: RolloutStep, seen: Situation) -> Rollout:
    """The rollout after this step was decided."""
    match step.move:
        case Move.HOLD:
            return replace(rollout, noted=(*rollout.noted, step.reason))
        case Move.RESTART:
            return _at_stage_start(replace(rollout, epoch=seen.epoch), logs=())
        case Move.PROMOTE:
            promoted = replace(rollout, stage=rollout.stage + 1, changed=None)
            return _at_stage_start(promoted, logs=rollout.counts.logs)
        case Move.COMPLETE:
            return replace(rollout, phase=RolloutPhase.COMPLETED, changed=None, because=step.sentence)
        case Move.ROLLBACK | Move.FOLLOW:
            return replace(rollout, phase=RolloutPhase.ROLLED_BACK, changed=None, because=step.sentence)
        case _:
            return rollout


def _at_stage_start(rollout: Rollout, *, logs: tuple[float, ...]) -> Rollout:
    """The rollout at the beginning of its stage."""
    counts = StageCounts(last=rollout.counts.last, logs=logs)
    return replace(rollout, entered=None, approved=False, noted=(), counts=counts)


def numbers_of(rollout: Rollout) -> dict[str, float | int | str]:
    """The figures of this moment."""
    counts, plan, exposure = rollout.counts, rollout.plan, rollout.exposure
    numbers: dict[str, float | int | str] = {
        "stage": rollout.stage + 1,
        "stages": len(plan.stages),
        "exposure": str(exposure),
        "legacy.calls": counts.legacy.calls,
        "legacy.errors": counts.legacy.bad,
        "candidate.calls": counts.candidate.calls,
        "candidate.errors": counts.candidate.bad,
        "harm": harm_bound(counts.legacy, counts.candidate, alpha=plan.alpha),
        "margin": plan.margin,
        "evidence": evidence_of(counts),
        "sharing": 1.0,
    }
    share = exposure.probability
    if share is not None and 0 < share < 1:
        numbers["sharing"] = ratio_evidence([(counts.legacy.calls, 1 - share), (counts.candidate.calls, share)])
    return numbers


Finding = tuple[Move, str, str]


def _findings(rollout: Rollout, seen: Situation, numbers: dict[str, float | int | str]) -> Iterator[Finding]:
    """All that applies, in order of severity."""
    yield from _ends(rollout, seen)
    yield from _alarms(rollout, seen, numbers)
    yield from _obstacles(rollout, seen)
    yield from _conditions(rollout, seen, numbers)
    if rollout.is_last_stage:
        yield (
            Move.COMPLETE,
            "complete",
            f"is complete: the candidate serves {rollout.plan.stages[-1]} of the calls",
        )
    else:
        yield (
            Move.PROMOTE,
            "promote",
            f"goes from {rollout.exposure} to {rollout.plan.exposure(rollout.stage + 1)}: {_harm(numbers)}",
        )


def _ends(rollout: Rollout, seen: Situation) -> Iterator[Finding]:
    if not rollout.phase.is_taken_back and seen.tripped_by is not None:
        yield Move.FOLLOW, "guard", f"ends at 0 %: the guard rolled it back (decision {seen.tripped_by})"
    if rollout.phase.is_over:
        if rollout.changed is None:
            yield Move.APPLY, rollout.phase.value, f"is being set to {rollout.exposure}"
        yield Move.END, rollout.phase.value, rollout.because


def _alarms(rollout: Rollout, seen: Situation, numbers: dict[str, float | int | str]) -> Iterator[Finding]:
    if seen.epoch != rollout.epoch:
        yield Move.RESTART, "resumed", f"restarts its stage ({rollout.exposure}), because the migration was resumed"
    if float(numbers["evidence"]) >= ROLLBACK_AT:
        yield Move.ROLLBACK, "evidence", f"was rolled back: {_evidence(numbers)}"
    if seen.frozen_by is not None:
        return
    if float(numbers["evidence"]) >= FREEZE_AT:
        yield Move.FREEZE, "evidence", f"is not promoted any further: {_evidence(numbers)}"
    if float(numbers["sharing"]) >= RATIO_ALARM_AT:
        yield Move.FREEZE, "sharing", f"is not promoted any further: {_sharing(rollout)}"


def _obstacles(rollout: Rollout, seen: Situation) -> Iterator[Finding]:
    """What holds a rollout whatever its figures are."""
    resume = f"`shim resume {rollout.migration} --because ...` lets it go on"
    if seen.frozen_by is not None:
        yield Move.HOLD, "frozen", f"is held: its promotion is frozen (decision {seen.frozen_by}); {resume}"
    if rollout.paused:
        yield (
            Move.HOLD,
            "paused",
            f"is held: it is paused; `shim rollout resume {rollout.migration}` goes on",
        )
    if not rollout.opened and seen.problem is not None:
        yield Move.HOLD, "no_data", f"does not begin: there are no data ({seen.problem})"
    if rollout.changed is None:
        yield Move.APPLY, "stage", f"is being set to {rollout.exposure}"
    if seen.flag is None:
        yield Move.HOLD, "no_flag", "is held: its flag cannot be read"
        return
    if not seen.flag.enabled:
        yield (
            Move.HOLD,
            "flag_off",
            f"is held: its flag is off; turn it on, or `shim rollout abort {rollout.migration}`",
        )
    if seen.flag.exposure != rollout.exposure:
        shown = "something else" if seen.flag.exposure is None else str(seen.flag.exposure)
        yield (
            Move.HOLD,
            "flag_changed",
            f"is held: its flag shows {shown}, not {rollout.exposure} as the rollout set it",
        )
    if seen.age is None or seen.problem is not None:
        yield Move.HOLD, "no_data", f"is held: there are no data ({seen.problem or 'nothing was counted'})"
    elif seen.age > rollout.plan.stale:
        yield Move.HOLD, "stale", f"is held: the latest data are {seen.age:,.0f} s old"


def _conditions(rollout: Rollout, seen: Situation, numbers: dict[str, float | int | str]) -> Iterator[Finding]:
    """What only time, more calls or an approval can bring."""
    if rollout.entered is None:
        yield Move.WAIT, "settling", f"waits until every process follows to {rollout.exposure}"
        return
    left = rollout.entered + rollout.plan.soak - seen.at
    if left > 0:
        yield Move.WAIT, "soaking", f"soaks at {rollout.exposure}: {_harm(numbers)}"
    is_alone = rollout.exposure.probability == 1
    if is_alone:
        if not rollout.counts.candidate.calls:
            yield Move.HOLD, "no_data", "is held: the candidate has served nothing yet"
    elif float(numbers["harm"]) >= rollout.plan.margin:
        yield Move.HOLD, "harm", f"is held at {rollout.exposure}: {_harm(numbers)}"
    if rollout.is_last_stage and rollout.plan.hold_back and not rollout.approved:
        complete = f"`shim rollout complete {rollout.migration}` ends that"
        yield Move.HOLD, "held_back", f"keeps {rollout.plan.hold_back} % on legacy to compare with; {complete}"
    if rollout.plan.manual and not rollout.approved:
        approve = f"`shim rollout approve {rollout.migration}`"
        yield Move.HOLD, "approval", f"is ready for the step after {rollout.exposure}, which waits for {approve}"


def _harm(numbers: dict[str, float | int | str]) -> str:
    if not numbers["candidate.calls"] or not numbers["legacy.calls"]:
        side = "the candidate" if not numbers["candidate.calls"] else "legacy"
        return f"{side} has served nothing in this stage, so there is nothing to compare with"
    return (
        f"the candidate fails at most {100 * float(numbers['harm']):.2f} points more often, and "
        f"{100 * float(numbers['margin']):g} are tolerated ({_counts(numbers)})"
    )


def _evidence(numbers: dict[str, float | int | str]) -> str:
    evidence = float(numbers["evidence"])
    return f"the evidence that the candidate fails more often is {evidence:,.0f} to 1 ({_counts(numbers)})"


def _sharing(rollout: Rollout) -> str:
    counts = rollout.counts
    calls = counts.legacy.calls + counts.candidate.calls
    return (
        f"calls are not routed in the intended shares ({rollout.exposure}): the candidate served "
        f"{counts.candidate.calls} of {calls}, which is {100 * counts.candidate.calls / calls:.2f} %"
    )


def _counts(numbers: dict[str, float | int | str]) -> str:
    return (
        f"{numbers['candidate.errors']} of {numbers['candidate.calls']} on the candidate, "
        f"{numbers['legacy.errors']} of {numbers['legacy.calls']} on legacy"
    )
