"""Bounds that hold at every moment at once, however often somebody looks.

A beta mixture of likelihood ratios is an e-process for every failure rate; the rates that it has not refuted form a
confidence sequence. Source: A. Wald's mixtures, as in S. Howard et al., Time-uniform, nonparametric, nonasymptotic
confidence sequences, Annals of Statistics 2021, arXiv 1810.08240.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_PRIOR = (0.5, 8.0)
"""Beta distribution of the mixture: most failure rates are small."""

_STEPS = 60
"""Halvings of an interval; the result is exact to the last bits of a float."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Calls of one side and how many of them went badly."""

    calls: int = 0
    bad: int = 0

    @property
    def rate(self) -> float | None:
        """Share that went badly; None before the first call."""
        return self.bad / self.calls if self.calls else None


def rate_bounds(tally: Tally, *, alpha: float) -> tuple[float, float]:
    """Lowest and highest failure rate that the calls so far have not refuted, at every moment at once.

    The true rate is ever outside with a probability of at most `alpha`.
    """
    if not tally.calls:
        return 0.0, 1.0
    rate = tally.bad / tally.calls
    low = 0.0 if tally.bad == 0 else _crossing(tally, inside=rate, outside=0.0, alpha=alpha)
    high = 1.0 if tally.bad == tally.calls else _crossing(tally, inside=rate, outside=1.0, alpha=alpha)
    return low, high


def harm_bound(legacy: Tally, candidate: Tally, *, alpha: float) -> float:
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


def _crossing(tally: Tally, *, inside: float, outside: float, alpha: float) -> float:
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


def _log_evidence(tally: Tally, rate: float) -> float:
    """Logarithm of the evidence against one failure rate strictly between 0 and 1."""
    a, b = _PRIOR
    good = tally.calls - tally.bad
    mixture = _log_beta(a + tally.bad, b + good) - _log_beta(a, b)
    return mixture - tally.bad * math.log(rate) - good * math.log1p(-rate)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
