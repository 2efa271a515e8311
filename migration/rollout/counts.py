"""Counts calls from counters that other processes export: they begin anew, come late, and go away."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from migration.guard.sequential import CallTally, SequentialTest
from migration.model.errors import StoreError
from migration.model.model import Side
from migration.rollout.model import FlagShown, Rollout, StageCounts
from migration.store.ledger_reader import LedgerReader, Losses, SideTotals, Standing

MAX_COUNTERS = 10_000
"""Counters whose last value is remembered; with more of them those that have gone are forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallCounter:
    """One counter of calls, which only grows until its process begins anew.

    Attributes:
        source: the process, or the file, that counts.
        key: what it is told apart by there.
        side: who served the calls.
        bad: whether they failed.
        value: how many there were since its process began.
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
        counters: as many as there are. One that a known source shows later began at 0; of a new source nobody knows
            since when it has counted.
        age: seconds since the oldest of them was up to date; None if there are none.
        problem: why they do not tell the whole, if they do not.
    """

    counters: Sequence[CallCounter] = ()
    age: float | None = None
    problem: str | None = None


class Tallies(Protocol):
    """Knows how many calls each side has served, and how many of them failed."""

    is_fleet: bool
    """Whether the calls are those of several machines, whose guards do not know of each other."""

    def read(self, migration: str) -> CounterReading:
        """The counters as they are. Never raises; what fails is the reading's problem."""
        ...


def with_calls(
    rollout: Rollout, reading: CounterReading, flag: FlagShown | None, *, at: float, is_fleet: bool
) -> Rollout:
    """The rollout with the calls since its last look; those of a stage count from when every process follows to it.

    Calls that were shared out by what somebody else has set are neither evidence nor a wrong sharing. While processes
    follow to a larger share their calls are evidence, if less than they could be; but before the first stage the share
    may have been any.

    Args:
        rollout: as it was.
        reading: the counters.
        flag: as it is now; None if it cannot be read.
        at: now, in seconds since the epoch.
        is_fleet: whether the calls are weighed as evidence, which on one machine the guard does.
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
    """Take in a reading. The first one of a source only says from where to count.

    Args:
        before: what has been counted.
        reading: the counters.
        probability: of a call being on the candidate, by which bad calls are weighed as evidence; None weighs nothing.
            A larger one than the true one understates the evidence, as while a share grows.
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
    """The values to count on from. What is missing at the moment may come back, so it is kept while there is room."""
    room = sum(map(len, before.last.values())) <= MAX_COUNTERS
    latest = {source: dict(values) for source, values in before.last.items()} if room else {}
    for counter in reading.counters:
        latest.setdefault(counter.source, {})[counter.key] = counter.value
    return latest


def _growth(last: float, value: float) -> int:
    """What was counted meanwhile; a smaller value is a process that has begun anew, and its first calls."""
    return round(value - last if value >= last else value)


def _more(tally: CallTally, good: int, bad: int) -> CallTally:
    return CallTally(calls=tally.calls + good + bad, bad=tally.bad + bad)


def _weighed(logs: tuple[float, ...], legacy_bad: int, candidate_bad: int, probability: float) -> tuple[float, ...]:
    """The evidence after so many more bad calls, whose order does not matter."""
    on_candidate, on_legacy = SequentialTest(), SequentialTest()
    on_candidate.add(on_candidate=True, probability=probability)
    on_legacy.add(on_candidate=False, probability=probability)
    before = logs or tuple(SequentialTest().logs)
    return tuple(
        log + candidate_bad * one + legacy_bad * other
        for log, one, other in zip(before, on_candidate.logs, on_legacy.logs, strict=True)
    )


# How the calls of one machine went, from the ledger that its processes share.

LOST_LATELY_SECONDS = 60.0
"""While records were lost within this time, what there is does not tell the whole."""


_SOURCE = "ledger"


class LedgerTallies:
    """Counts the calls that the processes of this machine have recorded.

    Args:
        ledger: the record.
        now: the clock, in seconds since the epoch.
    """

    is_fleet = False

    def __init__(self, ledger: LedgerReader, *, now: Callable[[], float] = time.time) -> None:
        self._ledger = ledger
        self._now = now

    def read(self, migration: str) -> CounterReading:
        """The totals of both sides, and how long ago a call was decided last."""
        try:
            standing, losses = self._ledger.standing(migration), self._ledger.losses()
        except StoreError as error:
            return CounterReading(problem=str(error))
        counters = [counter for side, totals in standing.sides.items() for counter in _counters(side, totals)]
        return CounterReading(counters=counters, age=self._age(standing), problem=self._problem(losses))

    def _age(self, standing: Standing) -> float | None:
        at = (standing.decision or {}).get("at")
        # a call from the future is of before the clock was set back: it is no sign of life either
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
