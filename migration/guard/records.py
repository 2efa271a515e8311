"""What was decided about a migration: by the guard, by a rollout, or by somebody."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from migration.guard.model import BadCall, Ruling, Signal


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
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
    def of(cls, ruling: Ruling, *, by: str, problem: str | None = None) -> Record:
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
    def of_row(cls, row: Mapping[str, Any]) -> Record:
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
class Made:
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
