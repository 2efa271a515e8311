"""The guard of one process: a router in front of another, and an observer.

It decides from what it sees itself, at the end of each call; whatever carries the decision further comes after that.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from migration.guard.judge import Judge
from migration.guard.model import (
    Action,
    BadCall,
    CandidateResult,
    FinishedCall,
    FlagSwitch,
    GuardFigures,
    Policy,
    ProcessMemoryGauge,
    Rule,
    Ruling,
    Signal,
)
from migration.guard.store import GuardStore
from migration.guard.watching import HANG_SECONDS, NOT_JUDGED, InFlightRuns, MemoryWatch, Run
from migration.guard.worker import GuardWorker
from migration.model.model import Call, Comparison, Decision, Notice, Operation, Outcome, Reason, Role, Side
from migration.model.ports import Router
from migration.model.taxonomy import ErrorKind

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
        hang_seconds: a run, of either side, that is under way for longer counts as a timeout, at that moment.
        made: says what a run of the candidate has made; it is kept for an audit.
        now: the clock, in seconds since the epoch.
        clock: what durations are measured with, in seconds.
    """

    def __init__(
        self,
        router: Router,
        *,
        store: GuardStore,
        switch: FlagSwitch | None = None,
        gauge: ProcessMemoryGauge | None = None,
        policy: Policy | None = None,
        hang_seconds: float = HANG_SECONDS,
        made: Callable[[Operation], Sequence[Mapping[str, str]]] | None = None,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._router = router
        self._policy = policy or Policy()
        self._hang_seconds = hang_seconds
        self._in_flight = InFlightRuns(hang_seconds=hang_seconds, clock=clock)
        self._made = made
        self._now = now
        self._clock = clock
        self._gauge = gauge
        self._memory: dict[str, MemoryWatch] = {}
        self._worker = GuardWorker(self, store=store, switch=switch, now=now, clock=clock)
        self._begin()
        self._tripped: frozenset[str] = self._worker.tripped_at_start()
        self.look_back()
        if self._worker.epochs:
            self._worker.start()  # not before everything that its thread asks for is there
        _guards.add(self)

    def _begin(self) -> None:
        self._judging = threading.RLock()
        self._judges: dict[str, Judge] = {}
        self._rulings: Counter[tuple[str, Rule, Action]] = Counter()

    def begin_in_child(self) -> None:
        """Forget what was under way in the parent of a forked process; the evidence is what the store knows."""
        self._worker.reset()
        self._in_flight.clear()
        self._begin()

    # As a router

    def decide(self, call: Call) -> Decision:
        """The router's decision; for a migration that is rolled back legacy serves, and the comparisons go on.

        Legacy serves every call as long as the state of this machine is refused.
        """
        self._worker.start()
        decision = self._router.decide(call)
        refusal = self._worker.refusal
        if call.migration not in self._tripped and refusal is None:
            return decision
        return replace(
            decision,
            serve=Side.LEGACY,
            probability=0.0,
            reason=Reason.DISABLED,
            source="guard",
            error=refusal or decision.error,
        )

    @property
    def tripped(self) -> frozenset[str]:
        """The migrations that are rolled back."""
        return self._tripped

    def trip(self, migration: str) -> None:
        """Let legacy serve every further call of this process."""
        with self._judging:
            self._tripped |= {migration}

    def restart(self, migration: str, *, epoch: int) -> None:
        """Let the router decide again, and gather evidence from nothing."""
        with self._judging:
            self._judges.pop(migration, None)
            self._memory.pop(migration, None)
            self._worker.epochs[migration] = epoch
            self._tripped -= {migration}

    # As an observer

    def operation(self, operation: Operation) -> AbstractContextManager[None]:
        """Judge a call's run on the side that was decided for it, when it has ended or hangs."""
        if operation.side is None or operation.role is not Role.PRIMARY:
            return NOT_JUDGED
        return Run(operation, self._in_flight, self._ended)

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

    def tell(self, noticed: Callable[[Notice], None]) -> None:
        """Say what is done and what fails to `noticed`, a sentence each; until then the log has it."""
        self._worker.tell = noticed

    # For the worker

    def look_back(self) -> None:
        """Rule on what earlier processes have written down."""
        for migration in self._worker.known_at_start():
            self._judge_what_is_known(migration)

    def look_for_hangs(self) -> None:
        """Take in the runs that are under way for too long, as timeouts."""
        for operation in self._in_flight.take_hanging():
            self._finished(operation, self._hang_seconds, str(ErrorKind.TIMEOUT))

    def take_in_foreign(self, migration: str, call: BadCall) -> None:
        """Take in a bad call of another process of this machine."""
        with self._judging:
            judge = self._judge(migration)
            self._act_on(judge.ruling(judge.taken_in(call), at=call.at, last=call))

    def evidence(self, migration: str) -> float:
        """The evidence against a candidate so far; 1 is none."""
        with self._judging:
            return self._judge(migration).evidence.total

    def figures(self) -> GuardFigures:
        """What there is to be measured, at this moment."""
        with self._judging:
            return GuardFigures(
                evidence={name: judge.evidence.total for name, judge in self._judges.items()},
                tripped=self._tripped,
                rulings=dict(self._rulings),
                memory_limit=None if self._gauge is None else self._gauge.limit(),
            )

    def close(self, timeout: float = 2.0) -> None:
        """Write down what is left and stop, within about `timeout` seconds."""
        self._worker.close(timeout)

    def _ended(self, run: Run, *, counts: bool, interrupt: BaseException | None) -> None:
        """Take in a run that has ended; it does not count if it was found hanging before."""
        operation, outcome = run.operation, run.operation.outcome
        if counts:
            self._judge_end(run, interrupt)
        if outcome is not None and operation.side is Side.CANDIDATE and self._made is not None:
            self._keep_result(operation, outcome, self._made)  # last, for it may fail

    def _judge_end(self, run: Run, interrupt: BaseException | None) -> None:
        """Judge how a run ended; `interrupt` is what ended one that has no outcome.

        A cancellation comes from the caller; what ends the process says nothing of a side; anything else, such as a
        panic of a library, is a failure like others.
        """
        operation, outcome = run.operation, run.operation.outcome
        if outcome is not None:
            kind = None if outcome.error is None else str(outcome.error_kind)
            self._finished(operation, outcome.seconds, kind)
        elif isinstance(interrupt, asyncio.CancelledError):
            self._finished(operation, self._clock() - run.began, None, given_up=True)
        elif interrupt is not None and not isinstance(interrupt, KeyboardInterrupt | GeneratorExit):
            self._finished(operation, self._clock() - run.began, str(ErrorKind.UNKNOWN))

    def _finished(self, operation: Operation, seconds: float, kind: str | None, *, given_up: bool = False) -> None:
        decision, migration = operation.decision, operation.call.migration
        if operation.side is not decision.serve or migration in self._tripped:
            return  # what legacy does alone says nothing, and what was under way is no news
        size = operation.call.attributes.get("file.size", 0)
        call = FinishedCall(
            at=self._now(),
            on_candidate=operation.side is Side.CANDIDATE,
            probability=decision.probability,
            seconds=seconds,
            size=size if isinstance(size, int) else 0,
            kind=kind,
            given_up=given_up,
            trace=operation.trace,
            flag_version=decision.flag_version,
        )
        with self._judging:
            judge = self._judge(migration)
            before = judge.evidence.calls
            self._act_on(judge.finished(call) or self._ruling_on_memory(judge, call))
            if judge.evidence.calls > before:
                self._worker.keep(migration, judge.trail.last)

    def _take_in(self, migration: str, call: BadCall) -> None:
        self._worker.keep(migration, call)
        self.take_in_foreign(migration, call)

    def _act_on(self, ruling: Ruling | None) -> None:
        if ruling is None:
            return
        self._rulings[ruling.migration, ruling.rule, ruling.action] += 1
        if ruling.action is Action.ROLLBACK:
            self.trip(ruling.migration)
        self._worker.carry_out(ruling)

    def _judge(self, migration: str) -> Judge:
        judge = self._judges.get(migration)
        if judge is None:
            judge = self._judges[migration] = Judge(
                migration, policy=self._policy, trail=self._worker.trail_of(migration)
            )
        return judge

    def _judge_what_is_known(self, migration: str) -> None:
        """Rule at once if what earlier processes wrote down suffices: one may have died before its ruling was."""
        judge = self._judge(migration)
        if migration not in self._tripped:
            self._act_on(judge.ruling(judge.conclusive(), at=self._now()))

    def _ruling_on_memory(self, judge: Judge, call: FinishedCall) -> Ruling | None:
        if self._gauge is None:
            return None
        watch = self._memory.get(judge.migration)
        if watch is None:
            watch = self._memory[judge.migration] = MemoryWatch(self._gauge)
        met = watch.look(self._clock(), share=call.probability)
        return judge.ruling(met, at=call.at, memory=watch.used) if met else None

    def _keep_result(
        self, operation: Operation, outcome: Outcome[Any], made: Callable[[Operation], Sequence[Mapping[str, str]]]
    ) -> None:
        failed = outcome.error is not None
        things = () if failed else tuple(made(operation))
        if failed or things:
            self._worker.keep_result(
                CandidateResult(
                    migration=operation.call.migration,
                    at=self._now(),
                    kind=str(outcome.error_kind) if failed else None,
                    things=things,
                    trace=operation.trace,
                    flag_version=operation.decision.flag_version,
                )
            )


_guards: weakref.WeakSet[Guard] = weakref.WeakSet()


def _begin_in_child() -> None:
    for guard in list(_guards):
        guard.begin_in_child()


os.register_at_fork(after_in_child=_begin_in_child)
