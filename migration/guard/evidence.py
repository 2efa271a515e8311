"""The evidence against a candidate: of the calls that went badly, were more on the candidate than its share?

If the candidate is no worse, a bad call was on it with exactly the probability `p` that was fixed before the call. The
likelihood ratio of "the candidate is r times as likely to go badly" against "it is not" is, for each bad call,
`r^A / (p r + 1 - p)`, where `A` says whether the candidate served it. Products of such ratios, and weighted means of
products, are e-processes: if the candidate is no worse, one ever reaches `1/alpha` in at most a share `alpha` of all
rollouts, however often it is looked at, and what hits both sides alike cancels out.

Source: M. Lindon and A. Malek, Anytime-Valid Inference for Multinomial Count Data, NeurIPS 2022, arXiv 2011.03567.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from migration.guard.model import Action, BadCall, Signal

RELATIVE_RISKS = (1.5, 3.0, 4.0, 8.0, 12.0, 50.0)
"""How many times as likely to go badly the candidate may be; all have the same weight. They are dense where a fault of
a few percentage points on top of a legacy that seldom fails lies, because an early rollback saves most there."""

SPREAD_AGAIN = 1 / 500
"""Share of the stake of a `LateChangeTest` that is spread again after each bad call."""

MAX_KINDS = 100
"""Kinds of failure that are watched one by one; further ones are no evidence."""


def log_mean(logs: Sequence[float], weights: Sequence[float]) -> float:
    """Logarithm of the weighted mean of numbers that are given by their logarithms."""
    top = max(logs)
    if top == -math.inf:
        return -math.inf
    return top + math.log(sum(weight * math.exp(log - top) for log, weight in zip(logs, weights, strict=True)))


_EQUAL = [1 / len(RELATIVE_RISKS)] * len(RELATIVE_RISKS)
_FIRST_SHARES = (0.5, *(0.5 * weight for weight in _EQUAL))


@lru_cache(maxsize=256)
def _gains(probability: float, *, on_candidate: bool) -> tuple[float, ...]:
    """What one bad call adds for each relative risk. There are few probabilities: one for each stage."""
    return tuple(log_ratio(risk, on_candidate=on_candidate, probability=probability) for risk in RELATIVE_RISKS)


@lru_cache(maxsize=256)
def _factors(probability: float, *, on_candidate: bool) -> tuple[float, ...]:
    """What one bad call multiplies each share by."""
    return (1.0, *(math.exp(gain) for gain in _gains(probability, on_candidate=on_candidate)))


def log_ratio(risk: float, *, on_candidate: bool, probability: float) -> float:
    """Logarithm of the likelihood ratio of one bad call: of this relative risk against none."""
    return math.log(risk if on_candidate else 1.0) - math.log1p(probability * (risk - 1.0))


@dataclass(slots=True)
class SequentialTest:
    """The sequential test of one signal, for a candidate that is bad from the start.

    Attributes:
        logs: logarithm of the e-process for each of `RELATIVE_RISKS`.
    """

    logs: list[float] = field(default_factory=lambda: [0.0] * len(RELATIVE_RISKS))

    def add(self, *, on_candidate: bool, probability: float) -> None:
        """Take in one bad call.

        Args:
            on_candidate: whether the candidate served it.
            probability: of being on the candidate, fixed before the call; 0 and 1 are no evidence.
        """
        if 0.0 < probability < 1.0:
            gains = _gains(probability, on_candidate=on_candidate)
            self.logs = [log + gain for log, gain in zip(self.logs, gains, strict=True)]

    @property
    def log(self) -> float:
        """Logarithm of the evidence; 0 is none."""
        return log_mean(self.logs, _EQUAL)


@dataclass(slots=True)
class LateChangeTest:
    """The sequential test of one signal, for a candidate that turns bad after a long good time.

    A `SequentialTest` forgets nothing: after thousands of calls that spoke for the candidate it needs hundreds to
    change. This one bets on the same relative risks, but holds back half of its stake, and after each bad call spreads
    a little of the whole as at the beginning. Spreading leaves the sum as it is, so it is an e-process as well. Source:
    M. Herbster and M. Warmuth, Tracking the Best Expert, Machine Learning 32 (1998).

    Attributes:
        log: logarithm of the evidence; 0 is none.
        shares: the part that is held back, and the part on each of `RELATIVE_RISKS`.
    """

    log: float = 0.0
    shares: list[float] = field(default_factory=lambda: list(_FIRST_SHARES))

    def add(self, *, on_candidate: bool, probability: float) -> None:
        """Take in one bad call, as a `SequentialTest` does."""
        if not 0.0 < probability < 1.0:
            return
        factors = _factors(probability, on_candidate=on_candidate)
        bets = [share * factor for share, factor in zip(self.shares, factors, strict=True)]
        total = sum(bets)
        self.log += math.log(total)
        self.shares = [
            (1.0 - SPREAD_AGAIN) * bet / total + SPREAD_AGAIN * first
            for bet, first in zip(bets, _FIRST_SHARES, strict=True)
        ]


@dataclass(slots=True)
class NewKindTest:
    """The sequential test for kinds of failure that legacy never shows.

    The evidence of one kind is the product of `1/p` while only the candidate shows it, and void once legacy does. The
    j-th new kind of a rollout, whichever side shows it first, has the weight `1 / (j (j + 1))`, so all weights sum to
    at most 1. What legacy shows while it serves every call costs nothing.

    Attributes:
        known: kinds that legacy has shown.
        found: logarithm of the evidence of each kind that was new in this rollout, in order of appearance.
    """

    known: set[str] = field(default_factory=set)
    found: dict[str, float] = field(default_factory=dict)

    def add(self, kind: str, *, on_candidate: bool, probability: float) -> bool:
        """Take in one failure; returns whether it is the first of a kind that legacy has never shown."""
        if kind in self.known or (kind not in self.found and len(self.found) >= MAX_KINDS):
            return self._add_known(kind, on_candidate=on_candidate)
        first = on_candidate and kind not in self.found
        has_alternative = 0.0 < probability < 1.0
        if on_candidate:
            self.found[kind] = self.found.get(kind, 0.0) - (math.log(probability) if has_alternative else 0.0)
            return first
        if has_alternative or kind in self.found:
            self.found[kind] = -math.inf
        return self._add_known(kind, on_candidate=on_candidate)

    def _add_known(self, kind: str, *, on_candidate: bool) -> bool:
        """Take in a failure that is no evidence."""
        if not on_candidate and len(self.known) < MAX_KINDS:
            self.known.add(kind)
        return False

    @property
    def log(self) -> float:
        """Logarithm of the evidence; 0 is none."""
        weights = [1 / (number * (number + 1)) for number in range(1, len(self.found) + 1)]
        return log_mean([0.0, *self.found.values()], [1 - sum(weights), *weights])


# All signals together

WEIGHTS: Mapping[Signal, float] = {
    Signal.ERROR: 0.88,
    Signal.MISMATCH: 0.05,
    Signal.LATENCY: 0.04,
    Signal.TIMEOUT: 0.01,
    Signal.STRANGER: 0.02,
}
"""Weight of each signal; they sum to 1, so the whole is an e-process as well. Timeouts and new kinds of failure are
errors, too, so they count twice."""

LATE = 0.1
"""Part of a signal's weight that is on a candidate turning bad late; the rest is on one that is bad from the start."""

FREEZE_AT = 20.0
ROLLBACK_AT = 100.0
"""If the candidate is no worse, the evidence ever reaches this in at most 1 of 100 rollouts."""

STAKED_UP_TO = 1.25 * ROLLBACK_AT
"""No more is staked than a win needs to reach this: more would be of no use, and what is not staked cannot be lost. It
is a little above `ROLLBACK_AT`, so that false rollbacks stay well below what is promised."""

_WEIGHTS = tuple(WEIGHTS.values())
_TESTED = (Signal.ERROR, Signal.TIMEOUT, Signal.MISMATCH, Signal.LATENCY)

_NEXT_TO_NOTHING = 1e-300
"""The evidence never falls below this, so that it can rise again."""


@dataclass(slots=True)
class CandidateEvidence:
    """The evidence of all signals of one rollout. All signals of a call are taken in together, once.

    The evidence is a stake on the candidate being worse, in a game that is fair if it is not. It grows as the weighted
    mean of the signals does, but no more is staked than a win needs (`STAKED_UP_TO`).

    Attributes:
        tests: of each signal but one, for a candidate that is bad from the start.
        late: likewise, for one that turns bad late.
        strangers: the test for new kinds of failure.
        calls: number of bad calls that were taken in.
        total: the evidence of all signals together; 1 is none, and `ROLLBACK_AT` is enough.
    """

    tests: dict[Signal, SequentialTest] = field(default_factory=lambda: {each: SequentialTest() for each in _TESTED})
    late: dict[Signal, LateChangeTest] = field(default_factory=lambda: {each: LateChangeTest() for each in _TESTED})
    strangers: NewKindTest = field(default_factory=NewKindTest)
    calls: int = 0
    total: float = 1.0
    _logs: dict[Signal, float] = field(init=False, repr=False)
    _log_mean: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Compute the evidence of each signal alone."""
        self._logs = {signal: self._log_of(signal) for signal in _TESTED}
        self._logs[Signal.STRANGER] = self.strangers.log
        self._log_mean = _weighted(self._logs)

    def add(self, call: BadCall) -> bool:
        """Take in one bad call; returns whether its failure is the first of a kind that legacy has never shown."""
        before = self._log_mean
        first = self._take_in(call)
        self._log_mean = _weighted(self._logs)
        if 0.0 < call.probability < 1.0:
            self._bet(math.exp(self._log_mean - before), on_candidate=call.on_candidate, probability=call.probability)
        return first

    def _take_in(self, call: BadCall) -> bool:
        """Let each signal of a call take it in."""
        self.calls += 1
        for signal in call.signals & self.tests.keys():
            for process in (self.tests[signal], self.late[signal]):
                process.add(on_candidate=call.on_candidate, probability=call.probability)
            self._logs[signal] = self._log_of(signal)
        if call.kind is None or Signal.ERROR not in call.signals:
            return False
        first = self.strangers.add(call.kind, on_candidate=call.on_candidate, probability=call.probability)
        self._logs[Signal.STRANGER] = self.strangers.log
        return first

    def _log_of(self, signal: Signal) -> float:
        return log_mean((self.tests[signal].log, self.late[signal].log), (1.0 - LATE, LATE))

    def _bet(self, gain: float, *, on_candidate: bool, probability: float) -> None:
        """Multiply the part of the evidence that is staked by a gain.

        How much is staked must not depend on the side of the call, so it follows from what the candidate would have
        gained. If the candidate is no worse the gains of both sides have the mean 1, so each follows from the other.
        """
        win = gain if on_candidate else (1.0 - (1.0 - probability) * gain) / probability
        if win > 1.0 and self.total * win > STAKED_UP_TO:
            stake = max(0.0, (STAKED_UP_TO / self.total - 1.0) / (win - 1.0))
            gain = 1.0 + stake * (gain - 1.0)
        self.total = max(_NEXT_TO_NOTHING, self.total * gain)

    def by_signal(self) -> dict[Signal, float]:
        """The evidence of each signal alone; 1 is none."""
        return {signal: _exp(log) for signal, log in self._logs.items()}

    @property
    def action(self) -> Action:
        """The action that follows from the evidence."""
        if self.total >= ROLLBACK_AT:
            return Action.ROLLBACK
        return Action.FREEZE if self.total >= FREEZE_AT else Action.NONE

    def strongest(self) -> Signal:
        """The signal that contributes most."""
        return max(self._logs.items(), key=lambda item: item[1] + math.log(WEIGHTS[item[0]]))[0]

    def state(self) -> dict[str, object]:
        """All of it as plain data, for `restored`."""
        return {
            "labelled": {signal.value: list(process.logs) for signal, process in self.tests.items()},
            "late": {signal.value: [process.log, list(process.shares)] for signal, process in self.late.items()},
            "known": sorted(self.strangers.known),
            "found": [[kind, None if log == -math.inf else log] for kind, log in self.strangers.found.items()],
            "calls": self.calls,
            "total": self.total,
        }

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> CandidateEvidence:
        """The evidence whose `state` this is."""
        return cls(
            tests={
                Signal(signal): SequentialTest([float(log) for log in logs])
                for signal, logs in state["labelled"].items()
            },
            late={Signal(signal): LateChangeTest(log, list(shares)) for signal, (log, shares) in state["late"].items()},
            strangers=NewKindTest(
                known=set(state["known"]),
                found={kind: -math.inf if log is None else log for kind, log in state["found"]},
            ),
            calls=state["calls"],
            total=state["total"],
        )


def _weighted(logs: Mapping[Signal, float]) -> float:
    return log_mean([logs[signal] for signal in WEIGHTS], _WEIGHTS)


def _exp(log: float) -> float:
    """`exp`, limited to what a float can hold."""
    return math.exp(min(log, 700.0))


# How the evidence came about

KEPT_CALLS = 1_000
"""Bad calls that are kept one by one; older ones are kept as a sum."""


class Trail:
    """The evidence of a rollout, and the bad calls that led to it."""

    def __init__(self, start: CandidateEvidence | None = None) -> None:
        self.evidence = start or CandidateEvidence()
        self._start = CandidateEvidence.restored(self.evidence.state())
        self._calls: deque[BadCall] = deque()

    def add(self, call: BadCall) -> bool:
        """Take in one bad call; returns whether its failure is the first of a kind that legacy has never shown."""
        self._calls.append(call)
        if len(self._calls) > KEPT_CALLS:
            self._start.add(self._calls.popleft())
        return self.evidence.add(call)

    @property
    def start(self) -> dict[str, object]:
        """The evidence before the calls that are kept."""
        return self._start.state()

    @property
    def last(self) -> BadCall:
        """The call that was taken in last."""
        return self._calls[-1]

    @property
    def calls(self) -> tuple[BadCall, ...]:
        """The calls that are kept, oldest first."""
        return tuple(self._calls)


def replay_evidence(start: Mapping[str, object], calls: Iterable[BadCall]) -> list[float]:
    """Compute the total evidence at the start and after each call again; the last is what the decision was based on."""
    evidence = CandidateEvidence.restored(start)
    totals = [evidence.total]
    for call in calls:
        evidence.add(call)
        totals.append(evidence.total)
    return totals
