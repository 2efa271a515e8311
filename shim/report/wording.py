"""What a report says in sentences: how it went, and what is missing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from migration import MISMATCHES, NOT_COMPARED, Side
from migration.guard import FREEZE_AT, ROLLBACK_AT, Phase
from shim.process_metrics import CallSample
from shim.report.findings import Findings

ENOUGH_CALLS = 100
"""Calls of a side below which a rate says little; the guard compares rates from as many on."""

NAMES = {Side.LEGACY: "legacy", Side.CANDIDATE: "async"}


def moment(at: float) -> str:
    """A time as a report shows it, in UTC."""
    return datetime.fromtimestamp(at, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def summary(found: Findings) -> Iterator[str]:
    """How it stands, most important first."""
    yield _standing(found)
    if found.shares:
        share = found.shares[-1]
        yield f"The flag sends {share.percent:g} % to the new path, {share.shadow_percent:g} % are compared."
    yield from (_side(side, found.calls_of(side)) for side in Side)
    yield _comparisons(found)
    yield (
        f"The evidence against the new path is {found.evidence:,.3g} to 1; {FREEZE_AT:g} freezes the rollout, "
        f"{ROLLBACK_AT:g} rolls back."
    )


def missing(found: Findings) -> Iterator[str]:
    """What a reviewer would still want to see."""
    for side in Side:
        calls = len(found.calls_of(side))
        if calls < ENOUGH_CALLS:
            yield f"{NAMES[side]} served {calls} calls in this time; below {ENOUGH_CALLS} a rate says little."
    if not _compared(found):
        yield f"Nothing was compared; the flag {found.migration}.shadow says how much is."
    dropped = sum(found.verdicts.get(verdict, 0) for verdict in NOT_COMPARED)
    if dropped > _compared(found):
        yield f"More comparisons were dropped ({dropped}) than made ({_compared(found)})."
    yield from _missing_rollout(found)
    if not found.drills:
        yield f"That a rollback works here was never tried; `shim drill {found.migration}` does."
    elif not found.drills[0].ok:
        yield f"The last drill failed: {found.drills[0].sentence}"
    if found.lost:
        yield f"{found.lost} records of calls and comparisons could not be written; figures are too low by as many."


def _standing(found: Findings) -> str:
    standing = found.standing
    number = standing.latched_by or standing.frozen_by
    if number is None:
        return "The guard watches; nothing holds the rollout."
    word = "rolled back" if standing.latched_by is not None else "frozen"
    flag = "" if standing.carried_out else " The flag is still to be turned off."
    sentence = next((record.sentence for record in found.records if record.id == number), "")
    return f"The migration is {word} (decision {number}). {sentence}{flag}"


def _side(side: Side, calls: Sequence[CallSample]) -> str:
    if not calls:
        return f"{NAMES[side]} served no call."
    failed = sum(call.error is not None for call in calls)
    return f"{NAMES[side]} served {len(calls)} calls, of which {failed} failed ({100 * failed / len(calls):.2f} %)."


def _comparisons(found: Findings) -> str:
    different = sum(found.verdicts.get(verdict, 0) for verdict in MISMATCHES)
    compared = _compared(found)
    if not compared:
        return "No call was compared."
    return f"{compared} calls were compared; in {different} of them the sides differ, for {len(found.causes)} reasons."


def _compared(found: Findings) -> int:
    return sum(count for verdict, count in found.verdicts.items() if verdict not in NOT_COMPARED)


def _missing_rollout(found: Findings) -> Iterator[str]:
    rollout = found.rollout
    if rollout is None:
        yield f"There was no rollout on evidence; `shim rollout {found.migration}` begins one."
    elif rollout.phase is not Phase.COMPLETED:
        stage, stages = rollout.stage + 1, len(rollout.plan.stages)
        yield f"The rollout is not complete: stage {stage} of {stages}, {rollout.phase.value.replace('_', ' ')}."
