"""Judges one migration, call by call. No clock, no input, no output: the same calls lead to the same rulings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from migration.guard.evidence import Evidence, Trail
from migration.guard.model import Action, BadCall, CallTally, FinishedCall, Policy, Rule, Ruling, Signal
from migration.guard.watching import LatencyBaseline
from migration.model.taxonomy import ErrorKind

POINTS = 0.05
"""How much higher the candidate's rate must be: five percentage points."""

ENOUGH_CALLS = 100
"""Calls of each side before rates are compared."""


@dataclass(slots=True)
class Rates:
    """How often each side failed and ran out of patience since the share last changed.

    Attributes:
        probability: the share of the calls that go to the candidate.
        errors: failures of legacy and of the candidate.
        timeouts: likewise.
    """

    probability: float | None = None
    errors: tuple[CallTally, CallTally] = (CallTally(), CallTally())
    timeouts: tuple[CallTally, CallTally] = (CallTally(), CallTally())

    def add(self, call: FinishedCall, *, failed: bool, timed_out: bool) -> None:
        """Count a call; one with another share begins anew, because calls of two shares do not compare."""
        if call.probability != self.probability:
            self.probability, self.errors, self.timeouts = (
                call.probability,
                (CallTally(), CallTally()),
                (CallTally(), CallTally()),
            )
        self.errors = _counted(self.errors, call, bad=failed)
        self.timeouts = _counted(self.timeouts, call, bad=timed_out)


def is_higher(tallies: tuple[CallTally, CallTally]) -> bool:
    """Whether the candidate's rate is more than five points above legacy's, with enough calls of both."""
    legacy, candidate = tallies
    if min(legacy.calls, candidate.calls) < ENOUGH_CALLS:
        return False
    return candidate.bad / candidate.calls - legacy.bad / legacy.calls > POINTS


def _counted(tallies: tuple[CallTally, CallTally], call: FinishedCall, *, bad: bool) -> tuple[CallTally, CallTally]:
    legacy, candidate = tallies
    mine = candidate if call.on_candidate else legacy
    mine = CallTally(mine.calls + 1, mine.bad + bad)  # `dataclasses.replace` takes ten times as long
    return (legacy, mine) if call.on_candidate else (mine, candidate)


# Rulings in words.

_WHAT = {
    Signal.ERROR: "it fails more often than legacy",
    Signal.TIMEOUT: "it runs out of patience more often than legacy",
    Signal.MISMATCH: "it does something else than legacy",
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
    """One sentence that says what was done, why, and on which figures."""
    return f"{migration} {_DONE[action]}: {_because(rule, numbers, last)}."


def _because(rule: Rule, numbers: Mapping[str, float | int | str], last: BadCall | None) -> str:
    errors, timeouts = _counts(numbers, "errors"), _counts(numbers, "timeouts")
    strongest = _WHAT[Signal(str(numbers["strongest"]))]
    worse = f"the evidence that the candidate is worse stands at {float(numbers['evidence']):,.0f} to 1, mostly that"
    memory = f"the process holds {float(numbers.get('memory', 0)) / 2**20:,.0f} MiB of memory"
    return {
        Rule.EVIDENCE: f"{worse} {strongest} ({errors})",
        Rule.SUSPICION: f"{worse} {strongest} ({errors})",
        Rule.INTEGRITY: "the candidate lost or changed what it was given",
        Rule.NEW_KIND: f"the candidate failed with {last.kind if last else None!r}, which legacy has never done",
        Rule.ERROR_RATE: f"the candidate fails more than five points more often ({errors})",
        Rule.TIMEOUT_RATE: f"the candidate times out more than five points more often ({timeouts})",
        Rule.MEMORY_CAP: f"{memory}, which is close to all that it may have",
        Rule.MEMORY_GROWTH: f"{memory}, far more than when legacy served everything",
    }[rule]


def _counts(numbers: Mapping[str, float | int | str], what: str) -> str:
    return (
        f"{what}: {numbers[f'candidate.{what}']} of {numbers['candidate.calls']} on the candidate, "
        f"{numbers[f'legacy.{what}']} of {numbers['legacy.calls']} on legacy"
    )


# Judges one migration, call by call. No clock, no input, no output: the same calls lead to the same rulings.


def replay_rules(start: Mapping[str, Any], calls: Iterable[BadCall], numbers: Mapping[str, Any]) -> set[Rule]:
    """The rules that were met after the last of these calls, computed anew from what a ruling was recorded with.

    Args:
        start: the evidence before the calls.
        calls: the bad calls, oldest first.
        numbers: the figures of the ruling, from which those of rates follow, and those of memory.
    """
    judge = Judge("", trail=Trail(Evidence.restored(start)))
    met = judge.conclusive()
    for call in calls:
        met = judge.taken_in(call)
    rules = {Rule.ERROR_RATE: "errors", Rule.TIMEOUT_RATE: "timeouts"}
    sides = {
        rule: tuple(CallTally(numbers[f"{side}.calls"], numbers[f"{side}.{what}"]) for side in ("legacy", "candidate"))
        for rule, what in rules.items()
    }
    memory = {Rule.MEMORY_CAP, Rule.MEMORY_GROWTH} if "memory" in numbers else set[Rule]()
    return {*met, *(rule for rule, (legacy, candidate) in sides.items() if is_higher((legacy, candidate))), *memory}


class Judge:
    """Takes in what happens and rules when a rule is met. A rule that has frozen promotion does so once.

    Args:
        migration: whose calls they are.
        policy: what each rule calls for.
        trail: how the evidence of the same rollout came about before.
    """

    def __init__(self, migration: str, *, policy: Policy | None = None, trail: Trail | None = None) -> None:
        self.migration = migration
        self.policy = policy or Policy()
        self.trail = trail or Trail()
        self.rates = Rates()
        self._baseline = LatencyBaseline()
        self._ruled: set[Rule] = set()

    @property
    def evidence(self) -> Evidence:
        """The evidence so far."""
        return self.trail.evidence

    def finished(self, call: FinishedCall) -> Ruling | None:
        """Take in a call that is over; the gravest ruling that follows from it, if one does."""
        bad = self._as_bad_call(call)
        if call.given_up and bad is None:
            return None  # a caller that lost interest at once says nothing of either side
        signals = bad.signals if bad else frozenset[Signal]()
        self.rates.add(call, failed=Signal.ERROR in signals, timed_out=Signal.TIMEOUT in signals)
        if not call.on_candidate and call.kind is None and not call.given_up:
            self._baseline.add_legacy(call.seconds, call.size)
        if bad is None:
            return None
        met = self.taken_in(bad)
        if is_higher(self.rates.errors):
            met.append(Rule.ERROR_RATE)
        if is_higher(self.rates.timeouts):
            met.append(Rule.TIMEOUT_RATE)
        return self.ruling(met, at=call.at, last=bad)

    def taken_in(self, bad: BadCall) -> list[Rule]:
        """Take in a bad call of this process or of another; the rules that its evidence meets."""
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
        """The rule that is met while the evidence suffices, also if a process died before it could say so."""
        return [Rule.EVIDENCE] if self.evidence.action is Action.ROLLBACK else []

    def ruling(
        self, met: list[Rule], *, at: float, last: BadCall | None = None, memory: int | None = None
    ) -> Ruling | None:
        """The gravest ruling that these rules call for and that has not been made; `memory` is that in use, bytes."""
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
        """The call as evidence, if it went badly in any way."""
        signals = set()
        if call.kind is not None:
            signals.add(Signal.ERROR)
        if call.kind == ErrorKind.TIMEOUT:
            signals.add(Signal.TIMEOUT)
        if self._baseline.is_slow(call.seconds, call.size):
            signals.add(Signal.LATENCY)
            if call.given_up:
                signals |= {Signal.ERROR, Signal.TIMEOUT}  # it was the caller whose patience ran out
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
