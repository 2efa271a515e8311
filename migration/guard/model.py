"""The guard's vocabulary: what it watches, what it may do, and what it has decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Protocol


class Signal(StrEnum):
    """A way in which a call can go badly, and evidence is gathered."""

    ERROR = "error"  # it failed
    TIMEOUT = "timeout"  # it failed because patience ran out
    MISMATCH = "mismatch"  # a shadow differed where legacy does not differ from itself
    LATENCY = "latency"  # slower than 19 of 20 earlier legacy calls of its size
    STRANGER = "stranger"  # it failed in a way that legacy never does


class Action(IntEnum):
    """What the guard does, from nothing to most."""

    NONE = 0
    FREEZE = 1  # promotion stops, and more calls are compared
    ROLLBACK = 2  # legacy serves every call

    @property
    def word(self) -> str:
        """As in commands and records."""
        return self.name.lower()


class Rule(StrEnum):
    """Why the guard acts. What each calls for is set in a `Policy`."""

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
    """What each rule calls for. Legacy serves what the guard rolls back, so a rule may well be strict."""

    evidence: Action = Action.ROLLBACK
    suspicion: Action = Action.FREEZE
    integrity: Action = Action.ROLLBACK
    new_kind: Action = Action.FREEZE
    error_rate: Action = Action.FREEZE
    timeout_rate: Action = Action.FREEZE
    memory_cap: Action = Action.ROLLBACK
    memory_growth: Action = Action.FREEZE

    def action_for(self, rule: Rule) -> Action:
        """What this rule calls for."""
        action: Action = getattr(self, rule.value)
        return action


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedCall:
    """A call as the guard sees it when it is over.

    Attributes:
        at: when, seconds since the epoch.
        on_candidate: which side it was on.
        probability: of being on the candidate, fixed before the call.
        seconds: how long it took.
        size: of its files, in bytes.
        kind: kind of its failure, None after success.
        given_up: whether its caller did not wait for its end; then nobody knows whether it would have failed.
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
    """A finished call, or a comparison, that is evidence.

    Attributes:
        at: when it was finished, seconds since the epoch.
        signals: in which ways it went badly; at least one.
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
    """What the guard of one process knows at a moment.

    Attributes:
        evidence: against the candidate of each migration it has judged; 1 is none.
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
    """One decision of the guard, with everything that is needed to understand it and to reach it again.

    Attributes:
        at: when, seconds since the epoch.
        migration: about which migration.
        rule: why.
        action: what is done.
        sentence: the decision in words.
        numbers: the figures behind it, by name.
        flag_version: fingerprint of the flag in force.
        start: the evidence before `calls`, as `Evidence.state` gives it.
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


# What the guard asks of the outside: somebody who can change flags, and somebody who knows the memory in use.


class FlagSwitch(Protocol):
    """Changes the flags of a migration for every process everywhere. May block; may raise anything."""

    def turn_off(self, migration: str, *, because: str) -> str | None:
        """Let legacy serve every call, and return the fingerprint of the flag as it is then, if it has one."""
        ...

    def compare_more(self, migration: str, *, percent: int, because: str) -> None:
        """Let at least `percent` of the calls be compared."""
        ...


class ProcessMemoryGauge(Protocol):
    """Knows this process's memory."""

    def used(self) -> int:
        """Resident bytes."""
        ...

    def limit(self) -> int:
        """Bytes that the process may have: of its control group or of the machine."""
        ...
