"""Judges one migration, call by call. Pure: the same calls lead to the same rulings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from migration.guard.evidence import CandidateEvidence, Trail
from migration.guard.model import Action, BadCall, CallTally, FinishedCall, Policy, Rule, Ruling, Signal
from migration.guard.watching import LatencyBaseline
from migration.model.taxonomy import ErrorKind

POINTS = 0.05
"""How much higher the candidate's rate must be to count: five percentage points."""

ENOUGH_CALLS = 100
"""Calls of each side that are needed to compare rates."""


@dataclass(slots=True)
class Rates:
    """How often each side failed and timed out since the share last changed.

    Attributes:
        probability: share of the calls that go to the candidate.
        errors: of legacy and of the candidate.
        timeouts: likewise.
    """

    probability: float | None = None
    errors: tuple[CallTally, CallTally] = (CallTally(), CallTally())
    timeouts: tuple[CallTally, CallTally] = (CallTally(), CallTally())

    def add(self, call: FinishedCall, *, failed: bool, timed_out: bool) -> None:
        """Count a call; one with another share resets the counts, because calls of two shares cannot be compared."""
        if call.probability != self.probability:
            self.probability, self.errors, self.timeouts = (
                call.probability,
                (CallTally(), CallTally()),
                (CallTally(), CallTally()),
            )
        self.errors = _counted(self.errors, call, bad=failed)
        self.timeouts = _counted(self.timeouts, call, bad=timed_out)


def is_higher(tallies: tuple[CallTally, CallTally]) -> bool:
    """Whether the candidate's rate is more than five points above legacy's, and both sides have enough calls."""
    legacy, candidate = tallies
    if min(legacy.calls, candidate.calls) < ENOUGH_CALLS:
        return False
    return candidate.bad / candidate.calls - legacy.bad / legacy.calls > POINTS


def _counted(tallies: tuple[CallTally, CallTally], call: FinishedCall, *, bad: bool) -> tuple[CallTally, CallTally]:
    legacy, candidate = tallies
    mine = candidate if call.on_candidate else legacy
    mine = CallTally(mine.calls + 1, mine.bad + bad)  # `dataclasses.replace` takes ten times as long
    return (legacy, mine) if call.on_candidate else (mine, candidate)


# Rulings in words

_WHAT = {
    Signal.ERROR: "it fails more often than legacy",
    Signal.TIMEOUT: "it times out more often than legacy",
    Signal.MISMATCH: "its results differ from those of legacy",
    Signal.LATENCY: "it is slower than legacy",
    Signal.STRANGER: "it fails in ways that legacy never does",
}

_DONE = {
    Action.NONE: "was only noted",
    Action.FREEZE: "is not promoted any further",
    Action.ROLLBACK: "was rolled back",
}


def sentence_for(
    migration: str, rule: Rule, action: Action, numbers: Mapping[str, float | int | str], last: BadCall | None
) -> str:
    """One sentence that says what is done, why, and on which figures."""
    return f"{migration} {_DONE[action]}: {_because(rule, numbers, last)}."


def _because(rule: Rule, numbers: Mapping[str, float | int | str], last: BadCall | None) -> str:
    errors, timeouts = _counts(numbers, "errors"), _counts(numbers, "timeouts")
    strongest = _WHAT[Signal(str(numbers["strongest"]))]
    worse = f"the evidence that the candidate is worse is {float(numbers['evidence']):,.0f} to 1, mostly because"
    memory = f"the process holds {float(numbers.get('memory', 0)) / 2**20:,.0f} MiB of memory"
    return {
        Rule.EVIDENCE: f"{worse} {strongest} ({errors})",
        Rule.SUSPICION: f"{worse} {strongest} ({errors})",
        Rule.INTEGRITY: "the candidate lost or changed what it was given",
        Rule.NEW_KIND: f"the candidate failed with {last.kind if last else None!r}, which legacy has never done",
        Rule.ERROR_RATE: f"the candidate fails more than five points more often ({errors})",
        Rule.TIMEOUT_RATE: f"the candidate times out more than five points more often ({timeouts})",
        Rule.MEMORY_CAP: f"{memory}, which is close to its limit",
        Rule.MEMORY_GROWTH: f"{memory}, much more than when legacy served every call",
    }[rule]


def _counts(numbers: Mapping[str, float | int | str], what: str) -> str:
    return (
        f"{what}: {numbers[f'candidate.{what}']} of {numbers['candidate.calls']} on the candidate, "
        f"{numbers[f'legacy.{what}']} of {numbers['legacy.calls']} on legacy"
    )


# The judge


def replay_rules(start: Mapping[str, Any], calls: Iterable[BadCall], numbers: Mapping[str, Any]) -> set[Rule]:
    """Compute again, from what was recorded with a ruling, which rules were met after its last call.

    Args:
        start: the evidence before the calls.
        calls: the bad calls, oldest first.
        numbers: the figures of the ruling, which the rules for rates and for memory follow from.
    """
    judge = Judge("", trail=Trail(CandidateEvidence.restored(start)))
    met = judge.conclusive()
    for call in calls:
        met = judge.take_in(call)
    rules = {Rule.ERROR_RATE: "errors", Rule.TIMEOUT_RATE: "timeouts"}
    sides = {
        rule: tuple(CallTally(numbers[f"{side}.calls"], numbers[f"{side}.{what}"]) for side in ("legacy", "candidate"))
        for rule, what in rules.items()
    }
    memory = {Rule.MEMORY_CAP, Rule.MEMORY_GROWTH} if "memory" in numbers else set[Rule]()
    return {*met, *(rule for rule, (legacy, candidate) in sides.items() if is_higher((legacy, candidate))), *memory}


class Judge:
    """Takes in calls and rules when a rule is met; each rule leads to one ruling at most.

    Args:
        migration: its migration.
        policy: the action that follows from each rule.
        trail: the evidence of the same rollout so far.
    """

    def __init__(self, migration: str, *, policy: Policy | None = None, trail: Trail | None = None) -> None:
        self.migration = migration
        self.policy = policy or Policy()
        self.trail = trail or Trail()
        self.rates = Rates()
        self._baseline = LatencyBaseline()
        self._ruled: set[Rule] = set()

    @property
    def evidence(self) -> CandidateEvidence:
        """The evidence so far."""
        return self.trail.evidence

    def finished(self, call: FinishedCall) -> Ruling | None:
        """Take in a call that has ended; returns the most severe ruling that follows, if one does."""
        bad = self._as_bad_call(call)
        if call.given_up and bad is None:
            return None  # a caller that left early is evidence against neither side
        signals = bad.signals if bad else frozenset[Signal]()
        self.rates.add(call, failed=Signal.ERROR in signals, timed_out=Signal.TIMEOUT in signals)
        if not call.on_candidate and call.kind is None and not call.given_up:
            self._baseline.add_legacy(call.seconds, call.size)
        if bad is None:
            return None
        met = self.take_in(bad)
        if is_higher(self.rates.errors):
            met.append(Rule.ERROR_RATE)
        if is_higher(self.rates.timeouts):
            met.append(Rule.TIMEOUT_RATE)
        return self.ruling(met, at=call.at, last=bad)

    def take_in(self, bad: BadCall) -> list[Rule]:
        """Take in a bad call of this process or of another; returns the rules that are met."""
        stranger = self.trail.add(bad)
        met = []
        if bad.on_candidate and bad.kind == ErrorKind.INTEGRITY:
            met.append(Rule.INTEGRITY)
        if stranger:
            met.append(Rule.NEW_KIND)
        if self.evidence.action is Action.FREEZE:
            met.append(Rule.SUSPICION)
        return met + self.conclusive()

    def conclusive(self) -> list[Rule]:
        """The rule that is met while the evidence suffices, also if a process died before it could rule."""
        return [Rule.EVIDENCE] if self.evidence.action is Action.ROLLBACK else []

    def ruling(
        self, met: list[Rule], *, at: float, last: BadCall | None = None, memory: int | None = None
    ) -> Ruling | None:
        """The most severe ruling that follows and was not made before; `memory` is the memory in use, in bytes."""
        fresh = [rule for rule in met if rule not in self._ruled and self.policy.action_for(rule) is not Action.NONE]
        if not fresh:
            return None
        self._ruled.update(fresh)
        rule = max(fresh, key=self.policy.action_for)
        numbers = self._numbers() if memory is None else {**self._numbers(), "memory": memory}
        return Ruling(
            at=at,
            migration=self.migration,
            rule=rule,
            action=self.policy.action_for(rule),
            sentence=sentence_for(self.migration, rule, self.policy.action_for(rule), numbers, last),
            numbers=numbers,
            flag_version=last.flag_version if last else None,
            start=self.trail.start,
            calls=self.trail.calls,
        )

    def _as_bad_call(self, call: FinishedCall) -> BadCall | None:
        """The call as evidence; None if it went well."""
        signals = set()
        if call.kind is not None:
            signals.add(Signal.ERROR)
        if call.kind == ErrorKind.TIMEOUT:
            signals.add(Signal.TIMEOUT)
        if self._baseline.is_slow(call.seconds, call.size):
            signals.add(Signal.LATENCY)
            if call.given_up:
                signals |= {Signal.ERROR, Signal.TIMEOUT}  # the caller's own timeout has ended
        if not signals:
            return None
        return BadCall(
            at=call.at,
            signals=frozenset(signals),
            on_candidate=call.on_candidate,
            probability=call.probability,
            kind=call.kind,
            seconds=call.seconds,
            trace=call.trace,
            flag_version=call.flag_version,
        )

    def _numbers(self) -> dict[str, float | int | str]:
        """The figures of this moment."""
        legacy, candidate = self.rates.errors
        slow_legacy, slow_candidate = self.rates.timeouts
        return {
            "evidence": self.evidence.total,
            **{f"evidence.{signal}": value for signal, value in self.evidence.by_signal().items()},
            "strongest": self.evidence.strongest(),
            "bad_calls": self.evidence.calls,
            "share": self.rates.probability or 0.0,
            "legacy.calls": legacy.calls,
            "legacy.errors": legacy.bad,
            "legacy.timeouts": slow_legacy.bad,
            "candidate.calls": candidate.calls,
            "candidate.errors": candidate.bad,
            "candidate.timeouts": slow_candidate.bad,
        }
