"""The guard's data: what it watches, what it may do, what it has decided, and what it asks of the outside."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import IntEnum, StrEnum
from typing import Any, Protocol


class Signal(StrEnum):
    """A way in which a call can go badly, for which evidence is gathered."""

    ERROR = "error"  # it failed
    TIMEOUT = "timeout"  # it failed because a timeout ended, its own or its caller's
    MISMATCH = "mismatch"  # a shadow differed where legacy does not differ from itself
    LATENCY = "latency"  # slower than 19 of 20 earlier legacy calls of its size
    STRANGER = "stranger"  # it failed with a kind of error that legacy never shows


class Action(IntEnum):
    """What the guard does, in order of severity."""

    NONE = 0
    FREEZE = 1  # promotion stops, and more calls are compared
    ROLLBACK = 2  # legacy serves every call

    @property
    def word(self) -> str:
        """Its name in commands and records."""
        return self.name.lower()


class Rule(StrEnum):
    """Why the guard acts; a `Policy` says which action follows."""

    EVIDENCE = "evidence"  # the evidence of all signals together is overwhelming
    SUSPICION = "suspicion"  # it is considerable
    INTEGRITY = "integrity"  # the candidate lost or changed what it was given
    NEW_KIND = "new_kind"  # the candidate failed in a way that legacy never has
    ERROR_RATE = "error_rate"  # its failure rate is more than five points above legacy's
    TIMEOUT_RATE = "timeout_rate"  # likewise for timeouts
    MEMORY_CAP = "memory_cap"  # the process is about to run out of memory
    MEMORY_GROWTH = "memory_growth"  # it holds much more than it did when legacy served everything


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The action that follows from each rule."""

    evidence: Action = Action.ROLLBACK
    suspicion: Action = Action.FREEZE
    integrity: Action = Action.ROLLBACK
    new_kind: Action = Action.FREEZE
    error_rate: Action = Action.FREEZE
    timeout_rate: Action = Action.FREEZE
    memory_cap: Action = Action.ROLLBACK
    memory_growth: Action = Action.FREEZE

    def action_for(self, rule: Rule) -> Action:
        """The action that follows from a rule."""
        action: Action = getattr(self, rule.value)
        return action


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedCall:
    """A call as the guard sees it at its end.

    Attributes:
        at: when it ended, in seconds since the epoch.
        on_candidate: whether the candidate served it.
        probability: of being on the candidate, fixed before the call.
        seconds: its duration.
        size: of its files, in bytes.
        kind: kind of its failure; None after a success.
        given_up: whether its caller did not wait for its end, so that it is unknown whether it would have failed.
        trace: W3C traceparent of the run.
        flag_version: fingerprint of the flag in force.
    """

    at: float
    on_candidate: bool
    probability: float
    seconds: float
    size: int = 0
    kind: str | None = None
    given_up: bool = False
    trace: str | None = None
    flag_version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BadCall:
    """A call that went badly, or a comparison that differs.

    Attributes:
        at: when it ended, in seconds since the epoch.
        signals: the ways in which it went badly; at least one.
        on_candidate: which side it was on.
        probability: of being on the candidate, fixed before the call.
        kind: kind of the failure, if it failed.
        seconds: how long it took.
        trace: W3C traceparent of the run.
        flag_version: fingerprint of the flag in force.
    """

    at: float
    signals: frozenset[Signal]
    on_candidate: bool
    probability: float
    kind: str | None = None
    seconds: float | None = None
    trace: str | None = None
    flag_version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardFigures:
    """Figures of the guard of one process, for metrics.

    Attributes:
        evidence: against the candidate, by migration; 1 is none.
        tripped: the migrations that are rolled back.
        rulings: how often this process has ruled, by migration, rule and action.
        memory_limit: bytes that the process may have; None if its memory is not watched.
    """

    evidence: Mapping[str, float]
    tripped: frozenset[str]
    rulings: Mapping[tuple[str, Rule, Action], int]
    memory_limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """One decision of the guard, with all that is needed to compute it again.

    Attributes:
        at: when, seconds since the epoch.
        migration: its migration.
        rule: the rule that was met.
        action: what follows.
        sentence: the decision in words.
        numbers: the figures that it was based on, by name.
        flag_version: fingerprint of the flag in force.
        start: the evidence before `calls`, as `CandidateEvidence.state` gives it.
        calls: the latest bad calls, oldest first.
    """

    at: float
    migration: str
    rule: Rule
    action: Action
    sentence: str
    numbers: Mapping[str, float | int | str]
    flag_version: str | None = None
    start: Mapping[str, object] = field(default_factory=dict, repr=False)
    calls: tuple[BadCall, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class CallTally:
    """Calls of one side and how many of them went badly."""

    calls: int = 0
    bad: int = 0

    @property
    def rate(self) -> float | None:
        """Share that went badly; None before the first call."""
        return self.bad / self.calls if self.calls else None


# What is kept


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRecord:
    """One decision of the guard, of a rollout or of an operator, as it is kept.

    Attributes:
        at: when, seconds since the epoch.
        migration: its migration.
        action: what was decided: `freeze`, `rollback`, `resume`, `promote`, `hold`, ...; `off`, `on`, `set` or `stage`
            if an operator changed a flag.
        by: who or what decided.
        sentence: the decision in words.
        numbers: the figures behind it.
        rule: the guard's rule, if it was the guard.
        flag_before: fingerprint of the flag when it was decided.
        flag_after: fingerprint of the flag once it was carried out.
        start: what it was based on: of the guard, the evidence before `calls`; of a rollout, its state and what it saw.
        calls: the bad calls that it was based on, oldest first.
        carried_out_at: when the flag was changed; None while that is pending, or if nothing is to be changed.
        problem: why the flag has not been changed.
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
        """Whether a rollout decided it."""
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
    """What a call of a candidate has created, for an audit.

    Attributes:
        migration: its migration.
        at: when the call ended, in seconds since the epoch.
        kind: kind of its failure; None after success.
        things: what it created, each as names and plain values; empty after a failure.
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
    return {**asdict(call), "signals": sorted(call.signals)}


def call_of(data: Mapping[str, Any]) -> BadCall:
    """The bad call that `call_as_data` wrote."""
    return BadCall(**{**data, "signals": frozenset(Signal(each) for each in data["signals"])})


# What the guard asks of the outside


class FlagSwitch(Protocol):
    """Changes the flags of a migration for all processes of all machines. May block; may raise anything."""

    def turn_off(self, migration: str, *, because: str) -> str | None:
        """Let legacy serve every call; returns the flag's state afterwards, if it has one."""
        ...

    def compare_more(self, migration: str, *, percent: int, because: str) -> None:
        """Let at least `percent` of the calls be compared."""
        ...


class ProcessMemoryGauge(Protocol):
    """Measures this process's memory."""

    def used(self) -> int:
        """Resident bytes."""
        ...

    def limit(self) -> int:
        """Bytes that the process may use: the limit of its control group, or the machine's memory."""
        ...
