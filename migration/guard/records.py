"""What was decided about a migration: by the guard, by a rollout, or by somebody."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from migration.guard.evidence import Evidence
from migration.guard.model import BadCall, Ruling, Signal

KEPT_CALLS = 1_000
"""The latest bad calls that are kept one by one; what older ones said is kept as a sum."""


class Trail:
    """The evidence, and how it was reached."""

    def __init__(self, start: Evidence | None = None) -> None:
        self.evidence = start or Evidence()
        self._start = Evidence.restored(self.evidence.state())
        self._calls: deque[BadCall] = deque()

    def add(self, call: BadCall) -> bool:
        """Take in one bad call; whether its failure is the first of a kind that legacy has never shown."""
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
    """The total evidence at the start and after each call, computed anew; the last is what was decided upon."""
    evidence = Evidence.restored(start)
    totals = [evidence.total]
    for call in calls:
        evidence.add(call)
        totals.append(evidence.total)
    return totals


# What was decided about a migration: by the guard, by a rollout, or by somebody.


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRecord:
    """One decision, as it is kept.

    Attributes:
        at: when, seconds since the epoch.
        migration: about which migration.
        action: what was decided: `freeze`, `rollback`, `resume`, `promote`, `hold`, ...; `off`, `on`, `set` or `stage`
            if somebody has changed a flag.
        by: who or what decided.
        sentence: the decision in words.
        numbers: the figures behind it.
        rule: the guard's rule, if it was the guard.
        flag_before: fingerprint of the flag when it was decided.
        flag_after: fingerprint of the flag once it was carried out.
        start: what it was decided by: the evidence before `calls`, if it was the guard; if it was a rollout, where that
            stood and what it saw.
        calls: the bad calls behind it, oldest first.
        carried_out_at: when the flag was changed; None while that is due, or when nothing is.
        problem: why it has not been carried out so far.
        id: given by the store.
    """

    at: float
    migration: str
    action: str
    by: str
    sentence: str
    numbers: Mapping[str, float | int | str] = field(default_factory=dict)
    rule: str | None = None
    flag_before: str | None = None
    flag_after: str | None = None
    start: Mapping[str, object] | None = field(default=None, repr=False)
    calls: tuple[BadCall, ...] = field(default=(), repr=False)
    carried_out_at: float | None = None
    problem: str | None = None
    id: int | None = None

    @property
    def is_of_rollout(self) -> bool:
        """Whether a rollout decided, by `start` alone."""
        return self.start is not None and "rollout" in self.start

    @classmethod
    def of(cls, ruling: Ruling, *, by: str, problem: str | None = None) -> DecisionRecord:
        """The record of a ruling of the guard."""
        return cls(
            at=ruling.at,
            migration=ruling.migration,
            action=ruling.action.word,
            by=by,
            sentence=ruling.sentence,
            numbers=ruling.numbers,
            rule=ruling.rule,
            flag_before=ruling.flag_version,
            start=ruling.start,
            calls=ruling.calls,
            problem=problem,
        )

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> DecisionRecord:
        """The record that a row of the table holds."""
        return cls(
            **{
                **row,
                "numbers": json.loads(row["numbers"]),
                "start": json.loads(row["start"]) if row["start"] else None,
                "calls": tuple(call_of(each) for each in json.loads(row["calls"] or "[]")),
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateResult:
    """What a call of a candidate has made, for an audit.

    Attributes:
        migration: whose candidate it was.
        at: when the call was over, seconds since the epoch.
        kind: kind of its failure; None after success.
        things: what it made, each as names and plain values; of a failed call nothing is known.
        trace: W3C traceparent of the run.
        flag_version: fingerprint of the flag in force.
    """

    migration: str
    at: float
    kind: str | None = None
    things: tuple[Mapping[str, str], ...] = ()
    trace: str | None = None
    flag_version: str | None = None


def call_as_data(call: BadCall) -> dict[str, object]:
    """A bad call as plain data."""
    return {
        "at": call.at,
        "signals": sorted(call.signals),
        "on_candidate": call.on_candidate,
        "probability": call.probability,
        "kind": call.kind,
        "seconds": call.seconds,
        "trace": call.trace,
        "flag_version": call.flag_version,
    }


def call_of(data: Mapping[str, Any]) -> BadCall:
    """The bad call that `call_as_data` wrote."""
    return BadCall(**{**data, "signals": frozenset(Signal(each) for each in data["signals"])})
