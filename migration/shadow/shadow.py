"""A sampled call whose caller has been answered, and how its sides are run again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from migration.model.declaration import Migration
from migration.model.model import Call, Comparison, Decision, Outcome, Side, Verdict
from migration.model.ports import Noted, Sent
from migration.running.candidate import Candidate
from migration.shadow.facts import Facts


@dataclass(slots=True, kw_only=True)
class Shadow:
    """One sampled call, as its caller was answered."""

    migration: Migration
    legacy: Callable[..., Any] = field(repr=False)
    candidate: Candidate[..., Any]
    call: Call
    decision: Decision
    side: Side
    seconds: float
    trace: str | None
    witness: Noted | None
    facts: Facts = field(default_factory=dict, repr=False)

    def comparison(self, verdict: Verdict, **what: Any) -> Comparison:
        """A comparison of this call. It is kept longer than the call, and so does not hold its arguments."""
        return Comparison(
            call=replace(self.call, args=(), kwargs={}),
            decision=self.decision,
            verdict=verdict,
            mode=self.migration.mode,
            primary_seconds=self.seconds,
            primary_trace=self.trace,
            **what,
        )

    def dropped(self, why: str) -> Comparison:
        """The comparison that says that there was none."""
        return self.comparison(Verdict.DROPPED, detail=why)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What a side did when it ran again, and the W3C traceparent of that run."""

    outcome: Outcome[Any] = field(repr=False)
    sent: Sent = field(repr=False)
    trace: str | None
