"""Whether legacy can go."""

from __future__ import annotations

from dataclasses import replace

import pytest

from migration import Decision, Reason, Side
from migration.guard import DecisionRecord
from migration.model import Entrance, NoticeKind, Verdict
from migration.store import MigrationStatus, SeenCaller, SideTotals
from shim.removal.readiness import Check, RemovalEvidence, Required, checklist
from shim.removal.uses import Caller

NOW, DAY = 1_000_000_000.0, 86_400.0
REQUIRED = Required(seconds=7 * DAY, comparisons=200)
SITE = SeenCaller(
    migration="m", function="a:f", file="a.py", line=1, caller="g", entrance=Entrance.BLOCKING, first_at=1, last_at=2
)
READY = RemovalEvidence(
    now=NOW,
    decision=Decision(serve=Side.CANDIDATE, probability=1.0, reason=Reason.STATIC),
    recorded=MigrationStatus(
        migration="m",
        sides={
            Side.LEGACY: SideTotals(calls=9, last_at=NOW - 8 * DAY),
            Side.CANDIDATE: SideTotals(calls=900, last_at=NOW - 60),
        },
    ),
    guard_state="watching",
    guard_evidence=1.5,
    records=[],
    notices={},
    lost=None,
    changed=NOW - 9 * DAY,
    verdicts={Verdict.IDENTICAL: 199, Verdict.NOISY: 1},
    open_work=[],
    callers=[Caller(found=None, seen=(replace(SITE, entrance=Entrance.SYNC),))],
    tests=["tests/test_it.py"],
    obstacle=None,
)
LATE = MigrationStatus(
    migration="m", sides={**READY.recorded.sides, Side.LEGACY: SideTotals(calls=9, last_at=NOW - 6 * DAY)}
)
SILENT = MigrationStatus(migration="m", sides={**READY.recorded.sides, Side.CANDIDATE: SideTotals()})
ROLLBACK = DecisionRecord(at=NOW - DAY, migration="m", action="rollback", by="guard", sentence="")


def missing(evidence: RemovalEvidence) -> list[str]:
    return [check.name for check in checklist(evidence, REQUIRED) if not check.holds]


def test_legacy_can_go_when_everything_holds() -> None:
    """Then nothing is missing."""
    assert missing(READY) == []


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("share", {"decision": Decision(serve=Side.CANDIDATE, probability=0.99, reason=Reason.SPLIT)}),
        ("share", {"decision": Decision(serve=Side.LEGACY, reason=Reason.STALE, error="FlagsStaleError")}),
        ("soak", {"recorded": LATE}),
        ("soak", {"recorded": SILENT}),
        ("guard", {"guard_state": "frozen"}),
        ("guard", {"guard_evidence": 20.0}),
        ("guard", {"guard_evidence": None}),
        ("guard", {"records": [ROLLBACK]}),
        ("comparisons", {"verdicts": {Verdict.IDENTICAL: 199, Verdict.DROPPED: 100}}),
        ("mismatches", {"verdicts": {Verdict.IDENTICAL: 500, Verdict.CANDIDATE_ERROR: 1}}),
        ("fallbacks", {"notices": {NoticeKind.FELL_BACK: 1}}),
        ("fallbacks", {"notices": {NoticeKind.CANDIDATE_UNAVAILABLE: 1}}),
        ("records", {"lost": NOW - DAY}),
        ("outbox", {"open_work": [Check(name="outbox", holds=False, figure="2 letters", advice="send them")]}),
        ("callers", {"callers": [Caller(found=None, seen=(SITE,))]}),
        ("awaiting", {"callers": [Caller(found=None, seen=(replace(SITE, entrance=Entrance.AWAITED),))]}),
        ("tests", {"tests": []}),
        ("patch", {"obstacle": "the candidate is an object"}),
    ],
)
def test_each_check_can_fail(name: str, change: dict[str, object]) -> None:
    """Each thing that does not hold is missing, alone and by its name."""
    assert missing(replace(READY, **change)) == [name]  # type: ignore[arg-type]  # fields by name


def test_what_is_long_ago_does_not_count() -> None:
    """A rollback and a loss before the time asked for are history."""
    old = replace(READY, records=[replace(ROLLBACK, at=NOW - 30 * DAY)], lost=NOW - 30 * DAY)
    assert missing(old) == []
