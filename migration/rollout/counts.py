"""What the calls of a rollout's stage came to, and how large the candidate's harm may still be.

Calls are counted from counters of other processes, which restart, come late and go away. A beta mixture of likelihood
ratios is an e-process for every failure rate; the rates that it has not refuted form a confidence sequence.

Source: S. Howard et al., Time-uniform, nonparametric, nonasymptotic confidence sequences, Annals of Statistics 2021,
arXiv 1810.08240.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from migration.guard.evidence import SequentialTest
from migration.guard.model import CallTally
from migration.model.errors import StoreError
from migration.model.model import Side
from migration.rollout.model import FlagShown, Rollout, StageCounts
from migration.store.ledger_reader import LedgerReader, Losses, MigrationStatus, SideTotals

MAX_COUNTERS = 10_000
"""Counters whose last value is remembered; with more of them those that are gone are forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallCounter:
    """One counter of calls, which only grows until its process restarts.

    Attributes:
        source: the process, or the file, that counts.
        key: its name there.
        side: which side served the calls.
        bad: whether they failed.
        value: number of calls since its process began.
    """

    source: str
    key: str
    side: Side
    bad: bool
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterReading:
    """All counters of a migration at one moment.

    Attributes:
        counters: all of them. A further counter of a known source began at 0; since when one of a new source has
            counted is unknown.
        age: seconds since the oldest of them was up to date; None if there are none.
        problem: why they are incomplete; None if they are not.
    """

    counters: Sequence[CallCounter] = ()
    age: float | None = None
    problem: str | None = None


class Tallies(Protocol):
    """Counts the calls that each side has served, and how many of them failed."""

    is_fleet: bool
    """Whether the calls are those of several machines, each with a guard of its own."""

    def read(self, migration: str) -> CounterReading:
        """The counters at this moment. Never raises; an error is the reading's problem."""
        ...


def with_calls(
    rollout: Rollout, reading: CounterReading, flag: FlagShown | None, *, at: float, is_fleet: bool
) -> Rollout:
    """The rollout with the calls since its last look; a stage counts calls once every process has followed to it.

    Calls that were routed by a share that the rollout has not set are neither evidence nor a wrong sharing. While
    processes follow to a larger share their calls are evidence, if less than they could be; before the first stage the
    share may have been any.

    Args:
        rollout: its state so far.
        reading: the counters.
        flag: its flag; None if it cannot be read.
        at: the time, in seconds since the epoch.
        is_fleet: whether to take the calls as evidence; on one machine the guard does that.
    """
    astray = at if rollout.is_set_otherwise(flag) else rollout.astray
    as_set = astray is None or (astray < at and at >= astray + rollout.plan.settle)
    known = as_set and (rollout.stage > 0 or rollout.entered is not None)
    counts = counted(
        rollout.counts,
        reading,
        probability=rollout.exposure.probability if known and is_fleet else None,
        tallying=as_set and rollout.entered is not None,
    )
    settled = rollout.changed is not None and at >= rollout.changed + rollout.plan.settle
    complete = reading.problem is None and reading.age is not None
    entered = at if rollout.entered is None and settled and complete else rollout.entered
    return replace(rollout, counts=counts, entered=entered, astray=astray)


def counted(before: StageCounts, reading: CounterReading, *, probability: float | None, tallying: bool) -> StageCounts:
    """Take in a reading. The first one of a source only sets where to count from.

    Args:
        before: what was counted so far.
        reading: the counters.
        probability: of a call being on the candidate, for the evidence; None takes in no evidence. One that is larger
            than the true one, as while a share grows, understates the evidence.
        tallying: whether the calls count for the stage; not while processes still follow to it.
    """
    grown = dict.fromkeys(((side, bad) for side in Side for bad in (False, True)), 0)
    for counter in reading.counters:
        if (known := before.last.get(counter.source)) is not None:
            grown[counter.side, counter.bad] += _growth(known.get(counter.key, 0.0), counter.value)
    legacy_bad, candidate_bad = grown[Side.LEGACY, True], grown[Side.CANDIDATE, True]
    weigh = probability is not None and bool(legacy_bad or candidate_bad)
    return StageCounts(
        legacy=_more(before.legacy, grown[Side.LEGACY, False], legacy_bad) if tallying else before.legacy,
        candidate=_more(before.candidate, grown[Side.CANDIDATE, False], candidate_bad)
        if tallying
        else before.candidate,
        last=_latest(before, reading),
        logs=_weighed(before.logs, legacy_bad, candidate_bad, probability or 0.0) if weigh else before.logs,
    )


def evidence_of(counts: StageCounts) -> float:
    """The evidence that the candidate fails more often; 1 is none."""
    return math.exp(min(SequentialTest(logs=list(counts.logs)).log, 700.0)) if counts.logs else 1.0


def _latest(before: StageCounts, reading: CounterReading) -> dict[str, dict[str, float]]:
    """The values to count from. A counter that is missing may come back, so it is kept while there is room."""
    room = sum(map(len, before.last.values())) <= MAX_COUNTERS
    latest = {source: dict(values) for source, values in before.last.items()} if room else {}
    for counter in reading.counters:
        latest.setdefault(counter.source, {})[counter.key] = counter.value
    return latest


def _growth(last: float, value: float) -> int:
    """What was counted since; a smaller value is that of a process that has restarted."""
    return round(value - last if value >= last else value)


def _more(tally: CallTally, good: int, bad: int) -> CallTally:
    return CallTally(calls=tally.calls + good + bad, bad=tally.bad + bad)


def _weighed(logs: tuple[float, ...], legacy_bad: int, candidate_bad: int, probability: float) -> tuple[float, ...]:
    """The evidence after further bad calls, whose order does not matter."""
    on_candidate, on_legacy = SequentialTest(), SequentialTest()
    on_candidate.add(on_candidate=True, probability=probability)
    on_legacy.add(on_candidate=False, probability=probability)
    before = logs or tuple(SequentialTest().logs)
    return tuple(
        log + candidate_bad * one + legacy_bad * other
        for log, one, other in zip(before, on_candidate.logs, on_legacy.logs, strict=True)
    )


# The calls of one machine

LOST_LATELY_SECONDS = 60.0
"""If records were lost within this time, the counts are incomplete."""


_SOURCE = "ledger"


class LedgerTallies:
    """Counts the calls that the processes of this machine have recorded in the ledger.

    Args:
        ledger: where they are recorded.
        now: seconds since the epoch.
    """

    is_fleet = False

    def __init__(self, ledger: LedgerReader, *, now: Callable[[], float] = time.time) -> None:
        self._ledger = ledger
        self._now = now

    def read(self, migration: str) -> CounterReading:
        """The totals of both sides; as old as the last decision about a call."""
        try:
            recorded, losses = self._ledger.status(migration), self._ledger.losses()
        except StoreError as error:
            return CounterReading(problem=str(error))
        counters = [counter for side, totals in recorded.sides.items() for counter in _counters(side, totals)]
        return CounterReading(counters=counters, age=self._age(recorded), problem=self._problem(losses))

    def _age(self, recorded: MigrationStatus) -> float | None:
        at = (recorded.decision or {}).get("at")
        # a time in the future is from before the clock was set back, so it is as old as it is far
        return abs(self._now() - at) if isinstance(at, float) else None

    def _problem(self, losses: Losses | None) -> str | None:
        if losses is None or self._now() - losses.last_at > LOST_LATELY_SECONDS:
            return None
        return f"{losses.records} records of calls could not be written"


def _counters(side: Side, totals: SideTotals) -> list[CallCounter]:
    bad = sum(totals.errors.values())
    return [
        CallCounter(source=_SOURCE, key=f"{side} ok", side=side, bad=False, value=totals.calls - bad),
        CallCounter(source=_SOURCE, key=f"{side} failed", side=side, bad=True, value=bad),
    ]


# Bounds that hold at every moment at once

_PRIOR = (0.5, 8.0)
"""Beta distribution of the mixture; most failure rates are small."""

_STEPS = 60
"""Halvings of an interval, after which the result is exact to the last bits of a float."""


def rate_bounds(tally: CallTally, *, alpha: float) -> tuple[float, float]:
    """The lowest and the highest failure rate that the calls have not refuted.

    The true rate is ever outside, at whatever moment, with a probability of at most `alpha`.
    """
    if not tally.calls:
        return 0.0, 1.0
    rate = tally.bad / tally.calls
    low = 0.0 if tally.bad == 0 else _crossing(tally, inside=rate, outside=0.0, alpha=alpha)
    high = 1.0 if tally.bad == tally.calls else _crossing(tally, inside=rate, outside=1.0, alpha=alpha)
    return low, high


def harm_bound(legacy: CallTally, candidate: CallTally, *, alpha: float) -> float:
    """How much higher the candidate's failure rate may be than legacy's; 0.01 is a percentage point.

    It is ever wrong with a probability of at most `alpha`. Without calls of both sides it is 1, which passes no margin.
    """
    _, worst = rate_bounds(candidate, alpha=alpha / 2)
    best, _ = rate_bounds(legacy, alpha=alpha / 2)
    return 1.0 if not (legacy.calls and candidate.calls) else worst - best


def ratio_evidence(calls: Sequence[tuple[int, float]], *, concentration: float = 100.0) -> float:
    """Evidence that calls are not routed in the intended shares; 1 is none.

    Args:
        calls: for each side, its number of calls and its intended share; the shares sum to 1.
        concentration: how close to the intended shares wrong ones are expected; 100 as in the paper.

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
    """The rate between `inside` and `outside` at which the evidence against it reaches `1/alpha`."""
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
    """Logarithm of the evidence against a failure rate between 0 and 1, both excluded."""
    a, b = _PRIOR
    good = tally.calls - tally.bad
    mixture = _log_beta(a + tally.bad, b + good) - _log_beta(a, b)
    return mixture - tally.bad * math.log(rate) - good * math.log1p(-rate)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
