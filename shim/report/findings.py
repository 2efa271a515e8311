"""What a report says in sentences: how it went, and what is missing."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

from migration import MISMATCHES, NOT_COMPARED, Cause, LedgerReader, Side, causes
from migration.guard import FREEZE_AT, ROLLBACK_AT, GuardStanding, Phase, Record, Rollout, RolloutStore
from shim.console.figures import EvidenceCurves, Point
from shim.process_metrics import CallSample, ShareSample, VitalsReader
from tools.drill.drill import DrillHistory
from tools.drill.faults import DrillResult
from tools.settings import Settings

MAX_RECORDS = 200
"""Decisions that are listed, the latest; `shim decisions` lists all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What there is to be said. Times are seconds since the epoch.

    Attributes:
        migration: of which migration.
        since, at: the stretch of time.
        calls: the calls that answered somebody, oldest first.
        shares: who was to serve from when on, oldest first.
        verdicts: how many comparisons ended how.
        causes: why sides were seen to differ, most frequent first.
        records: what was decided, newest first.
        standing: what the guard holds.
        evidence: against the candidate since it was last resumed.
        curve: the same after each bad call.
        rollout: where the latest rollout stands, if there ever was one.
        drills: what was tried on purpose, newest first.
        lost: records of calls and comparisons that could not be written.
    """

    migration: str
    since: float
    at: float
    calls: Sequence[CallSample]
    shares: Sequence[ShareSample]
    verdicts: Mapping[str, int]
    causes: Sequence[Cause]
    records: Sequence[Record]
    standing: GuardStanding
    evidence: float
    curve: Sequence[Point]
    rollout: Rollout | None
    drills: Sequence[DrillResult]
    lost: int

    def calls_of(self, side: Side) -> list[CallSample]:
        """The calls that a side served."""
        return [call for call in self.calls if call.side is side]


def gather(settings: Settings, migration: str, *, seconds: float) -> Findings:
    """Read everything about the last `seconds`.

    Raises:
        MigrationError: the ledger or the guard's file cannot be read.
        ToolsError: another file cannot be read.
    """
    at = time.time()
    since = at - seconds
    ledger = LedgerReader(settings.ledger_file)
    store = RolloutStore(settings.shim_home / "guard.db")
    vitals = VitalsReader(settings.vitals_file)
    standing = store.standings().get(migration, GuardStanding(migration=migration))
    evidence, _ = store.recall(migration=migration, epoch=standing.epoch)
    losses = ledger.losses()
    return Findings(
        migration=migration,
        since=since,
        at=at,
        calls=vitals.calls(migration, since=since),
        shares=vitals.shares(migration, since=since),
        verdicts=ledger.verdicts(migration, since=since),
        causes=causes(ledger.comparisons(migration, verdicts=MISMATCHES, since=since)),
        records=[record for record in store.records(migration, limit=MAX_RECORDS) if record.at >= since],
        standing=standing,
        evidence=evidence.total,
        curve=cast("Sequence[Point]", EvidenceCurves(store).curve(migration, epoch=standing.epoch)["points"]),
        rollout=store.rollout(migration),
        drills=DrillHistory(settings.shim_home / "drills.jsonl").drills(migration),
        lost=0 if losses is None else losses.records,
    )


# What a report says in sentences: how it went, and what is missing.

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
