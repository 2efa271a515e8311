"""What is known of a migration on this machine, gathered from the files of its processes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from migration import MISMATCHES, Cause, LedgerReader, Side, causes
from migration.guard import GuardStanding, Record, Rollout, RolloutStore
from shim.console.evidence import EvidenceCurves, Point
from shim.process_metrics import CallSample, ShareSample, VitalsReader
from tools.drill.history import DrillHistory
from tools.drill.result import DrillResult
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
