"""Evidence from labels: of the calls that went badly, are more on the candidate than its share?

A beta mixture of likelihood ratios is an e-process for every failure rate; the rates that it has not refuted form a
confidence sequence. Source: A. Wald's mixtures, as in S. Howard et al., Time-uniform, nonparametric, nonasymptotic
confidence sequences, Annals of Statistics 2021, arXiv 1810.08240.

With no regression, a bad call was on the candidate with exactly the probability that was fixed before the call. So the
likelihood ratio of "the candidate is r times as likely to go badly" against "it is not" is, for each bad call,
`r^A / (p r + 1 - p)`, where `p` is that probability and `A` says whether it was the candidate. Products of such ratios,
and weighted means of those, are e-processes: with no regression, one ever reaches `1/alpha` in at most a share `alpha`
of all rollouts, however often somebody looks, and whatever hits both sides alike cancels out.

Source: M. Lindon and A. Malek, Anytime-Valid Inference for Multinomial Count Data, NeurIPS 2022, arXiv 2011.03567.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

_PRIOR = (0.5, 8.0)
"""Beta distribution of the mixture: most failure rates are small."""

_STEPS = 60
"""Halvings of an interval; the result is exact to the last bits of a float."""


@dataclass(frozen=True, slots=True)
class CallTally:
    """Calls of one side and how many of them went badly."""

    calls: int = 0
    bad: int = 0

    @property
    def rate(self) -> float | None:
        """Share that went badly; None before the first call."""
        return self.bad / self.calls if self.calls else None


def rate_bounds(tally: CallTally, *, alpha: float) -> tuple[float, float]:
    """Lowest and highest failure rate that the calls so far have not refuted, at every moment at once.

    The true rate is ever outside with a probability of at most `alpha`.
    """
    if not tally.calls:
        return 0.0, 1.0
    rate = tally.bad / tally.calls
    low = 0.0 if tally.bad == 0 else _crossing(tally, inside=rate, outside=0.0, alpha=alpha)
    high = 1.0 if tally.bad == tally.calls else _crossing(tally, inside=rate, outside=1.0, alpha=alpha)
    return low, high


def harm_bound(legacy: CallTally, candidate: CallTally, *, alpha: float) -> float:
    """How much higher the candidate's failure rate may be than legacy's (0.01 is a percentage point).

    Holds at every moment at once, but for `alpha`. Without calls of both sides it is 1, which passes no margin.
    """
    _, worst = rate_bounds(candidate, alpha=alpha / 2)
    best, _ = rate_bounds(legacy, alpha=alpha / 2)
    return 1.0 if not (legacy.calls and candidate.calls) else worst - best


def ratio_evidence(calls: Sequence[tuple[int, float]], *, concentration: float = 100.0) -> float:
    """Evidence that calls are not shared out as intended; 1 is none, 100 is enough.

    Args:
        calls: for each arm, how many calls it got and which share of all it was to get; the shares sum to 1.
        concentration: how close to the intended shares a wrong sharing is expected; 100 as in the paper.

    Source: M. Lindon and A. Malek, arXiv 2011.03567, section 2.
    """
    if any(count and share <= 0 for count, share in calls):
        return math.inf
    arms = [(count, share) for count, share in calls if share > 0]
    prior = [concentration * share for _, share in arms]
    total = sum(count for count, _ in arms)
    log = math.lgamma(concentration) - math.lgamma(concentration + total)
    for (count, share), weight in zip(arms, prior, strict=True):
        log += math.lgamma(weight + count) - math.lgamma(weight) - count * math.log(share)
    return math.exp(min(log, 700.0))


def _crossing(tally: CallTally, *, inside: float, outside: float, alpha: float) -> float:
    """Where on the way from a rate that holds to one that does not the evidence reaches `1/alpha`."""
    enough = -math.log(alpha)
    for _ in range(_STEPS):
        middle = (inside + outside) / 2
        if middle in {0.0, 1.0}:
            break
        if _log_evidence(tally, middle) >= enough:
            outside = middle
        else:
            inside = middle
    return outside


def _log_evidence(tally: CallTally, rate: float) -> float:
    """Logarithm of the evidence against one failure rate strictly between 0 and 1."""
    a, b = _PRIOR
    good = tally.calls - tally.bad
    mixture = _log_beta(a + tally.bad, b + good) - _log_beta(a, b)
    return mixture - tally.bad * math.log(rate) - good * math.log1p(-rate)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


# Evidence from labels: of the calls that went badly, are more on the candidate than its share?

RELATIVE_RISKS = (1.5, 3.0, 4.0, 8.0, 12.0, 50.0)
"""How many times as likely to go badly the candidate may be; each gets the same weight. They stand close where a fault
of some points on top of a legacy that seldom fails lies, because there a rollback in time saves most."""

SPREAD_ANEW = 1 / 500
"""Share of a late process that is spread anew after each bad call."""

MAX_KINDS = 100
"""Kinds of failure that are watched one by one; a further new kind is evidence of nothing."""


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
    """What one bad call adds, for each relative risk. There are few probabilities: one for each stage."""
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
    """The e-process of one signal, as logarithms of its value for each relative risk.

    Attributes:
        logs: one logarithm for each of `RELATIVE_RISKS`.
    """

    logs: list[float] = field(default_factory=lambda: [0.0] * len(RELATIVE_RISKS))

    def add(self, *, on_candidate: bool, probability: float) -> None:
        """Take in one bad call.

        Args:
            on_candidate: which side it was.
            probability: of being on the candidate, fixed before the call. 0 and 1 leave nothing to learn.
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
    """The e-process of a candidate that turns bad after a long good time.

    A `SequentialTest` remembers every bad call for ever: after thousands of calls that spoke for the candidate it takes
    hundreds to change its mind. This one bets on the same relative risks, but keeps a part of its money in the pocket,
    and after each bad call spreads a little of all that it has as at the beginning. Spreading changes nothing in the
    sum, so it is an e-process as well. Source: M. Herbster and M. Warmuth, Tracking the Best Expert, Machine Learning
    32 (1998).

    Attributes:
        log: logarithm of the evidence; 0 is none.
        shares: how it is spread: what is not bet, and what is on each of `RELATIVE_RISKS`.
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
            (1.0 - SPREAD_ANEW) * bet / total + SPREAD_ANEW * first
            for bet, first in zip(bets, _FIRST_SHARES, strict=True)
        ]


@dataclass(slots=True)
class NewKindTest:
    """The e-process of failures of kinds that legacy never shows.

    For one kind, as long as only the candidate shows it, the evidence is the product of `1/p`; it is void from the
    moment legacy shows it. The j-th new kind of a rollout, whichever side shows it first, has the weight
    `1 / (j (j + 1))`, so all weights sum to at most 1. What legacy shows while it serves every call costs nothing.

    Attributes:
        known: kinds that legacy has shown.
        found: logarithm of the evidence of each kind that was new in this rollout, in the order of their finding.
    """

    known: set[str] = field(default_factory=set)
    found: dict[str, float] = field(default_factory=dict)

    def add(self, kind: str, *, on_candidate: bool, probability: float) -> bool:
        """Take in one failure; whether it is the first of a kind that legacy has never shown."""
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
        """Take in a failure that is evidence of nothing."""
        if not on_candidate and len(self.known) < MAX_KINDS:
            self.known.add(kind)
        return False

    @property
    def log(self) -> float:
        """Logarithm of the evidence; 0 is none."""
        weights = [1 / (number * (number + 1)) for number in range(1, len(self.found) + 1)]
        return log_mean([0.0, *self.found.values()], [1 - sum(weights), *weights])
