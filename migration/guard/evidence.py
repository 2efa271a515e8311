"""The evidence against a candidate, from all signals together."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from migration.guard.model import Action, BadCall, Signal
from migration.guard.sequential import LateChangeTest, NewKindTest, SequentialTest, log_mean

QUANTILE = 0.95
ENOUGH_CALLS = 100
"""Legacy calls of a size that must have been seen before anything of that size counts as slow."""

FORGET_EVERY = 2_000
"""After so many legacy calls of a size what was counted is halved, so that the baseline follows slow changes."""

LOOK_EVERY = 50
"""Legacy calls of a size between two computations of its threshold."""

IMPERCEPTIBLE_SECONDS = 0.02
"""A call that is over so soon is never slow, whatever legacy takes."""

SIZE_CLASSES = 24
"""Classes of file sizes, each four times the one before; the last takes all that are larger."""

_STEP = math.log(1.1)
"""Durations are counted in steps of ten percent."""

_SHORTEST = 1e-5
_STEPS = 250
"""From 10 µs to more than 2 days."""


@dataclass(slots=True)
class _SizeClass:
    """Legacy's durations for one class of sizes, in steps; `threshold` is None while too few are known."""

    counts: Counter[int] = field(default_factory=Counter)
    total: int = 0
    until_next_look: int = ENOUGH_CALLS
    threshold: int | None = None

    def add(self, step: int) -> None:
        self.counts[step] += 1
        self.total += 1
        if self.total >= FORGET_EVERY:
            self.counts = Counter({step: count // 2 for step, count in self.counts.items() if count > 1})
            self.total = self.counts.total()
        self.until_next_look -= 1
        if self.until_next_look <= 0:
            self.threshold = self._quantile()
            self.until_next_look = LOOK_EVERY

    def _quantile(self) -> int:
        left = QUANTILE * self.total
        for step in sorted(self.counts):
            left -= self.counts[step]
            if left <= 0:
                return step
        return _STEPS


class LatencyBaseline:
    """What is slow, by size of the files."""

    def __init__(self) -> None:
        self._classes: dict[int, _SizeClass] = {}

    def is_slow(self, seconds: float, size: int) -> bool:
        """Whether a call took longer than 95 of 100 earlier legacy calls of about this size; False while unknown.

        Args:
            seconds: how long the call took.
            size: of its files, in bytes.
        """
        if seconds < IMPERCEPTIBLE_SECONDS:
            return False
        known = self._classes.get(_size_class(size))
        return known is not None and known.threshold is not None and _step(seconds) > known.threshold

    def add_legacy(self, seconds: float, size: int) -> None:
        """Count a legacy call, after everything has been asked about it."""
        self._classes.setdefault(_size_class(size), _SizeClass()).add(_step(seconds))


def _size_class(size: int) -> int:
    return min(SIZE_CLASSES - 1, max(0, size.bit_length() // 2))


def _step(seconds: float) -> int:
    return min(_STEPS, int(math.log(max(seconds, _SHORTEST) / _SHORTEST) / _STEP))


# The evidence against a candidate, from all signals together.

WEIGHTS: Mapping[Signal, float] = {
    Signal.ERROR: 0.88,
    Signal.MISMATCH: 0.05,
    Signal.LATENCY: 0.04,
    Signal.TIMEOUT: 0.01,
    Signal.STRANGER: 0.02,
}
"""How much each signal counts in the whole; they sum to 1, so the whole is an e-process as well. Timeouts and strangers
are errors, too, and so count twice."""

LATE = 0.1
"""How much of a signal's weight is on the candidate turning bad late; the rest is on its being bad from the start."""

FREEZE_AT = 20.0
ROLLBACK_AT = 100.0
"""With no regression the evidence ever reaches this in at most 1 of 100 rollouts."""

STAKED_UP_TO = 1.25 * ROLLBACK_AT
"""No more is staked than a win needs to reach this: what a win brings above it is of no use, and what is not staked
cannot be lost. It lies a little above `ROLLBACK_AT`, so that false rollbacks stay well below what is promised."""

_WEIGHTS = tuple(WEIGHTS.values())
_LABELLED = (Signal.ERROR, Signal.TIMEOUT, Signal.MISMATCH, Signal.LATENCY)

_NEXT_TO_NOTHING = 1e-300
"""Evidence never falls below, so that it stays a number."""


@dataclass(slots=True)
class Evidence:
    """What the bad calls of one rollout say so far. All signals of a call are taken in together, once.

    The evidence is money that is bet on the candidate being worse, at odds that are fair if it is not. It grows as the
    weighted mean of the signals does, but no more is staked than a win needs (`STAKED_UP_TO`).

    Attributes:
        labelled: the e-process of each signal but one, for a candidate that is bad from the start.
        late: likewise, for one that turns bad late.
        strangers: that of failures of new kinds.
        calls: how many bad calls were taken in.
        total: the evidence of all signals together; 1 is none, and `ROLLBACK_AT` is enough.
    """

    labelled: dict[Signal, SequentialTest] = field(
        default_factory=lambda: {each: SequentialTest() for each in _LABELLED}
    )
    late: dict[Signal, LateChangeTest] = field(default_factory=lambda: {each: LateChangeTest() for each in _LABELLED})
    strangers: NewKindTest = field(default_factory=NewKindTest)
    calls: int = 0
    total: float = 1.0
    _logs: dict[Signal, float] = field(init=False, repr=False)
    _log_mean: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Compute what each signal says alone."""
        self._logs = {signal: self._log_of(signal) for signal in _LABELLED}
        self._logs[Signal.STRANGER] = self.strangers.log
        self._log_mean = _weighted(self._logs)

    def add(self, call: BadCall) -> bool:
        """Take in one bad call; whether its failure is the first of a kind that legacy has never shown."""
        before = self._log_mean
        first = self._take_in(call)
        self._log_mean = _weighted(self._logs)
        if 0.0 < call.probability < 1.0:
            self._bet(math.exp(self._log_mean - before), on_candidate=call.on_candidate, probability=call.probability)
        return first

    def _take_in(self, call: BadCall) -> bool:
        """Let each signal of a call take it in."""
        self.calls += 1
        for signal in call.signals & self.labelled.keys():
            for process in (self.labelled[signal], self.late[signal]):
                process.add(on_candidate=call.on_candidate, probability=call.probability)
            self._logs[signal] = self._log_of(signal)
        if call.kind is None or Signal.ERROR not in call.signals:
            return False
        first = self.strangers.add(call.kind, on_candidate=call.on_candidate, probability=call.probability)
        self._logs[Signal.STRANGER] = self.strangers.log
        return first

    def _log_of(self, signal: Signal) -> float:
        return log_mean((self.labelled[signal].log, self.late[signal].log), (1.0 - LATE, LATE))

    def _bet(self, gain: float, *, on_candidate: bool, probability: float) -> None:
        """Multiply the evidence by a gain, as far as it is staked.

        How much is staked must not depend on where the call was, so it follows from what the candidate would have
        gained. With no regression the gains of both sides have the mean 1, so each follows from the other.
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
        """What the evidence calls for."""
        if self.total >= ROLLBACK_AT:
            return Action.ROLLBACK
        return Action.FREEZE if self.total >= FREEZE_AT else Action.NONE

    def strongest(self) -> Signal:
        """The signal that contributes most."""
        return max(self._logs.items(), key=lambda item: item[1] + math.log(WEIGHTS[item[0]]))[0]

    def state(self) -> dict[str, object]:
        """Everything as plain data, for `restored`."""
        return {
            "labelled": {signal.value: list(process.logs) for signal, process in self.labelled.items()},
            "late": {signal.value: [process.log, list(process.shares)] for signal, process in self.late.items()},
            "known": sorted(self.strangers.known),
            "found": [[kind, None if log == -math.inf else log] for kind, log in self.strangers.found.items()],
            "calls": self.calls,
            "total": self.total,
        }

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> Evidence:
        """The evidence whose `state` this is."""
        return cls(
            labelled={
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
    """The number itself; beyond what a float can hold, the largest one."""
    return math.exp(min(log, 700.0))
