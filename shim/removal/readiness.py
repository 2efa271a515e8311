"""Whether legacy can go: what has to hold before, each with its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from migration import Decision, Side
from migration.guard import FREEZE_AT, DecisionRecord
from migration.model import MISMATCHES, NoticeKind, Verdict
from migration.store import MigrationStatus
from shim.removal.uses import Caller

FULL = 1.0
"""The probability of being served by the candidate at 100 %."""

COMPARED = (Verdict.IDENTICAL, Verdict.NOISY, Verdict.SAME_ERROR, Verdict.IGNORED)
"""Verdicts that speak for the candidate."""

_DAY = 86_400.0
_FALLBACKS = (NoticeKind.FELL_BACK, NoticeKind.CANDIDATE_UNAVAILABLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Required:
    """What has to hold.

    Attributes:
        seconds: how long the candidate must have served every call, and everything have been quiet.
        comparisons: how many comparisons there must have been since the candidate was last changed.
    """

    seconds: float
    comparisons: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that has to hold.

    Attributes:
        name: of the check, stable.
        holds: whether it does.
        figure: what is so, in words and figures.
        advice: what to do if it does not hold.
    """

    name: str
    holds: bool
    figure: str
    advice: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovalEvidence:
    """What is known of a migration. Times are in seconds since the epoch.

    Attributes:
        now: the time.
        decision: what would be decided for a call made now.
        recorded: the calls that each side served.
        guard_state, guard_evidence: where the guard stands; the evidence is None if that is not known.
        records: what was decided, newest first.
        notices: messages within the required time, by kind.
        lost: when a record was last lost; None if never.
        changed: when the candidate's source was last changed.
        verdicts: comparisons since then, by verdict.
        open_work: what the application itself asks for.
        callers: from where it is called.
        tests: test files that use the candidate or the function that it replaces.
        obstacle: why `shim remove` cannot do its work; None if it can.
    """

    now: float
    decision: Decision
    recorded: MigrationStatus
    guard_state: str
    guard_evidence: float | None
    records: Sequence[DecisionRecord]
    notices: Mapping[str, int]
    lost: float | None
    changed: float
    verdicts: Mapping[str, int]
    open_work: Sequence[Check]
    callers: Sequence[Caller]
    tests: Sequence[str]
    obstacle: str | None


def checklist(evidence: RemovalEvidence, required: Required) -> list[Check]:
    """Every check. Legacy can go if all of them hold."""
    return [
        _share(evidence),
        _soak(evidence, required),
        _guard(evidence, required),
        _comparisons(evidence, required),
        _mismatches(evidence),
        _fallbacks(evidence),
        _losses(evidence, required),
        *evidence.open_work,
        _blocking(evidence),
        _awaiting(evidence),
        _tests(evidence),
        _patch(evidence),
    ]


def _share(evidence: RemovalEvidence) -> Check:
    decision = evidence.decision
    problem = f" ({decision.error})" if decision.error else ""
    return Check(
        name="share",
        holds=decision.probability >= FULL and decision.serve is Side.CANDIDATE,
        figure=f"the flag gives {decision.probability * 100:g} % of the calls to the candidate{problem}",
        advice="`shim rollout NAME` or `shim flags set NAME 100`",
    )


def _soak(evidence: RemovalEvidence, required: Required) -> Check:
    legacy, candidate = (evidence.recorded.sides[side] for side in (Side.LEGACY, Side.CANDIDATE))
    since = evidence.now - legacy.last_at
    last = f"legacy last served {_time(since)} ago" if legacy.calls else "legacy never served a call"
    quiet = since >= required.seconds if legacy.calls else candidate.calls > 0
    recent = candidate.last_at > legacy.last_at and evidence.now - candidate.last_at < max(required.seconds, _DAY)
    return Check(
        name="soak",
        holds=quiet and recent,
        figure=f"{last}, the candidate {candidate.calls:,} calls; {_time(required.seconds)} of quiet are asked for",
        advice="wait; `shim callers NAME` tells who still calls, `shim status` who serves",
    )


def _guard(evidence: RemovalEvidence, required: Required) -> Check:
    acted = [
        record
        for record in evidence.records
        if record.action in {"rollback", "freeze"} and evidence.now - record.at < required.seconds
    ]
    shown = "unknown" if evidence.guard_evidence is None else f"{evidence.guard_evidence:,.3g} to 1"
    calm = evidence.guard_evidence is not None and evidence.guard_evidence < FREEZE_AT
    return Check(
        name="guard",
        holds=evidence.guard_state == "watching" and calm and not acted,
        figure=f"{evidence.guard_state}, evidence {shown}, {len(acted)} rollbacks and freezes in the time asked for",
        advice="`shim decisions NAME` says what happened, `shim resume NAME` goes on",
    )


def _comparisons(evidence: RemovalEvidence, required: Required) -> Check:
    count = sum(evidence.verdicts.get(verdict, 0) for verdict in COMPARED)
    return Check(
        name="comparisons",
        holds=count >= required.comparisons,
        figure=f"{count:,} of {required.comparisons:,} comparisons since the candidate was changed "
        f"{_time(evidence.now - evidence.changed)} ago",
        advice="`shim flags set NAME.shadow 20` compares more calls, `shim compare` files of your own",
    )


def _mismatches(evidence: RemovalEvidence) -> Check:
    count = sum(evidence.verdicts.get(verdict, 0) for verdict in MISMATCHES)
    return Check(
        name="mismatches",
        holds=count == 0,
        figure=f"{count:,} unexplained mismatches since then",
        advice="`shim mismatches NAME` groups them by cause",
    )


def _fallbacks(evidence: RemovalEvidence) -> Check:
    count = sum(evidence.notices.get(kind, 0) for kind in _FALLBACKS)
    return Check(
        name="fallbacks",
        holds=count == 0,
        figure=f"legacy stood in for the candidate {count:,} times in the time asked for",
        advice="without legacy these calls fail: mend what the notices in `shim status` say",
    )


def _losses(evidence: RemovalEvidence, required: Required) -> Check:
    recent = evidence.lost is not None and evidence.now - evidence.lost < required.seconds
    return Check(
        name="records",
        holds=not recent,
        figure="records of calls were lost in the time asked for" if recent else "no record of a call was lost",
        advice="the ledger could not be written, so the other figures may be too good; wait once more",
    )


def _blocking(evidence: RemovalEvidence) -> Check:
    sites = [each for each in evidence.callers if each.blocks]
    return Check(
        name="callers",
        holds=not sites,
        figure=f"{len(evidence.callers)} call sites; {len(sites)} hold up an event loop"
        + (f" ({_places(sites)})" if sites else ""),
        advice="`await f.aio(...)` there",
    )


def _awaiting(evidence: RemovalEvidence) -> Check:
    sites = [each for each in evidence.callers if each.awaits_unfound]
    return Check(
        name="awaiting",
        holds=not sites,
        figure=f"{len(sites)} places await the shim and are not found in the source"
        + (f" ({_places(sites)})" if sites else ""),
        advice="`f.aio` goes with the shim: call `f_async` there",
    )


def _tests(evidence: RemovalEvidence) -> Check:
    return Check(
        name="tests",
        holds=bool(evidence.tests),
        figure=f"{len(evidence.tests)} test files use it",
        advice="write tests of the candidate: they are what stays",
    )


def _patch(evidence: RemovalEvidence) -> Check:
    return Check(
        name="patch",
        holds=evidence.obstacle is None,
        figure=evidence.obstacle or "`shim remove` can take it out",
        advice="change the declaration accordingly, or remove it by hand",
    )


def _places(callers: Sequence[Caller]) -> str:
    shown = [
        f"{each.found.file}:{each.found.line}" if each.found else f"{each.seen[0].file}:{each.seen[0].line}"
        for each in callers
    ]
    more = f" and {len(shown) - 3} more" if len(shown) > 3 else ""  # noqa: PLR2004  # `shim callers` shows all
    return ", ".join(shown[:3]) + more


def _time(seconds: float) -> str:
    for unit, size in (("d", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{max(seconds, 0.0):.0f} s"
