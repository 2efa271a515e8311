"""The guard of one process: a router in front of another, and an observer.

It decides from what it sees itself, at the end of each call; whatever carries the decision further comes after that.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from types import TracebackType

from migration._model import Call, Comparison, Decision, Notice, Operation, Reason, Role, Side
from migration._ports import Router
from migration.guard._desk import Desk
from migration.guard._judge import Judge
from migration.guard._memory import MemoryWatch
from migration.guard._model import Action, BadCall, FinishedCall, Policy, Rule, Ruling, Signal
from migration.guard._ports import MemoryGauge, Switch
from migration.guard._store import GuardStore

MISMATCH_PROBABILITY = 0.5
"""Of a case in which either the candidate or a second run of legacy differs from legacy, if both are the same."""


class Guard:
    """Watches the calls of every migration, and lets legacy serve those that it has rolled back.

    Args:
        router: who decides as long as nothing is rolled back.
        store: what outlives the process and is shared with the others of the machine.
        switch: changes the flags for everybody; without one, only the processes of this machine follow.
        gauge: this process's memory; without one it is not watched.
        policy: what each rule calls for.
        now: the clock, in seconds since the epoch.
    """

    def __init__(
        self,
        router: Router,
        *,
        store: GuardStore,
        switch: Switch | None = None,
        gauge: MemoryGauge | None = None,
        policy: Policy | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._router = router
        self._policy = policy or Policy()
        self._now = now
        self._gauge = gauge
        self._judging = threading.RLock()
        self._judges: dict[str, Judge] = {}
        self._memory: dict[str, MemoryWatch] = {}
        self._desk = Desk(self, store=store, switch=switch, now=now)
        self._latched: frozenset[str] = self._desk.latched_at_start()

    # As a router

    def decide(self, call: Call) -> Decision:
        """The router's decision; for a migration that is rolled back legacy serves, and the comparisons go on."""
        decision = self._router.decide(call)
        if call.migration not in self._latched:
            return decision
        return replace(decision, serve=Side.LEGACY, probability=0.0, reason=Reason.DISABLED, source="guard")

    @property
    def latched(self) -> frozenset[str]:
        """The migrations that are rolled back."""
        return self._latched

    def latch(self, migration: str) -> None:
        """Let legacy serve every further call of this process."""
        self._latched |= {migration}

    def begin_anew(self, migration: str, *, epoch: int) -> None:
        """Let the router decide again, and gather evidence from nothing."""
        with self._judging:
            self._judges.pop(migration, None)
            self._memory.pop(migration, None)
        self._desk.epochs[migration] = epoch
        self._latched -= {migration}

    # As an observer

    def operation(self, operation: Operation) -> AbstractContextManager[None]:
        """Judge a call's run on the side that was decided for it, when it has ended."""
        return _Judged(self, operation)

    def compared(self, comparison: Comparison) -> None:
        """Take in a comparison for which legacy ran twice."""
        sample = comparison.noise
        if sample is None:
            return
        candidate, legacy = bool(sample.candidate), bool(sample.legacy)
        if candidate != legacy:
            self._take_in(
                comparison.call.migration,
                BadCall(
                    at=self._now(),
                    signals=frozenset({Signal.MISMATCH}),
                    on_candidate=candidate,
                    probability=MISMATCH_PROBABILITY,
                    trace=comparison.shadow_trace,
                    flag_version=comparison.decision.flag_version,
                ),
            )

    def noticed(self, notice: Notice) -> None:
        """Nothing follows from a notice."""

    def finished(self, operation: Operation) -> None:
        """Take in a run that has ended."""
        outcome, decision, migration = operation.outcome, operation.decision, operation.call.migration
        if outcome is None or operation.role is not Role.PRIMARY or operation.side is not decision.serve:
            return
        if migration in self._latched:
            return  # what legacy does alone says nothing, and what was under way is no news
        size = operation.call.attributes.get("file.size", 0)
        call = FinishedCall(
            at=self._now(),
            on_candidate=operation.side is Side.CANDIDATE,
            probability=decision.probability,
            seconds=outcome.seconds,
            size=size if isinstance(size, int) else 0,
            kind=str(outcome.error_kind) if outcome.error is not None else None,
            trace=operation.trace,
            flag_version=decision.flag_version,
        )
        with self._judging:
            judge = self._judge(migration)
            before = judge.evidence.calls
            ruling = judge.finished(call) or judge.ruling(self._memory_rules(migration, call), at=call.at)
            if judge.evidence.calls > before:
                self._desk.keep(migration, judge.trail.last)
        self._act_on(ruling)

    def tell(self, noticed: Callable[[Notice], None]) -> None:
        """Say what is done and what fails to `noticed`, a sentence each; until then the log has it."""
        self._desk.tell = noticed

    # For the desk

    def take_in_foreign(self, migration: str, call: BadCall) -> None:
        """Take in a bad call of another process of this machine."""
        with self._judging:
            judge = self._judge(migration)
            ruling = judge.ruling(judge.taken_in(call), at=call.at, last=call)
        self._act_on(ruling)

    def evidence(self, migration: str) -> float:
        """The evidence against a candidate so far; 1 is none."""
        with self._judging:
            return self._judge(migration).evidence.total

    def close(self, timeout: float = 2.0) -> None:
        """Write down what is left and stop, within about `timeout` seconds."""
        self._desk.close(timeout)

    def _take_in(self, migration: str, call: BadCall) -> None:
        self._desk.keep(migration, call)
        self.take_in_foreign(migration, call)

    def _act_on(self, ruling: Ruling | None) -> None:
        if ruling is None:
            return
        if ruling.action is Action.ROLLBACK:
            self.latch(ruling.migration)
        self._desk.carry_out(ruling)

    def _judge(self, migration: str) -> Judge:
        judge = self._judges.get(migration)
        if judge is None:
            judge = self._judges[migration] = Judge(
                migration, policy=self._policy, start=self._desk.evidence_of(migration)
            )
        return judge

    def _memory_rules(self, migration: str, call: FinishedCall) -> list[Rule]:
        if self._gauge is None:
            return []
        watch = self._memory.setdefault(migration, MemoryWatch(self._gauge))
        return watch.look(call.at, share=call.probability)


class _Judged(AbstractContextManager[None]):
    """Surrounds one operation."""

    __slots__ = ("_guard", "_operation")

    def __init__(self, guard: Guard, operation: Operation) -> None:
        self._guard = guard
        self._operation = operation

    def __enter__(self) -> None:
        """Nothing is to be judged before the end."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._operation.side is not None:
            self._guard.finished(self._operation)
