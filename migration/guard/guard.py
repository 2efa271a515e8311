"""The guard of one process: a router in front of another one, and an observer.

It decides from what this process sees, at the end of each call; its worker then applies the decision elsewhere.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from migration.forking import renew_in_child
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
"""Of the candidate, and not a second run of legacy, being the one that differs from legacy, if both are alike."""


class Guard:
    """Watches the calls of every migration, and lets legacy serve the migrations that it has rolled back.

    Args:
        router: decides about migrations that are not rolled back.
        store: what outlives the process and is shared with the other processes of the machine.
        switch: changes flags; without one, only the processes of this machine follow.
        gauge: measures this process's memory; without one it is not watched.
        policy: the action that follows from each rule.
        hang_seconds: a run of either side that is in flight for longer counts as a timeout.
        check_state: looks at further files of this machine; legacy serves while it raises `StoreRefusedError`.
        made: tells what a run of the candidate has created; kept for an audit.
        now: seconds since the epoch.
        clock: a clock that only goes forwards, in seconds.
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
        check_state: Callable[[], object] = lambda: None,
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
        self._worker = GuardWorker(self, store=store, switch=switch, check_state=check_state, now=now, clock=clock)
        self._begin()
        self._tripped: frozenset[str] = self._worker.tripped_at_start()
        self.look_back()
        renew_in_child(self)

    def _begin(self) -> None:
        self._judging = threading.RLock()
        self._judges: dict[str, Judge] = {}
        self._rulings: Counter[tuple[str, Rule, Action]] = Counter()

    def begin_in_child(self) -> None:
        """Forget the runs in flight of a forked process's parent; the evidence is that of the store."""
        self._in_flight.clear()
        self._begin()

    # As a router

    def decide(self, call: Call) -> Decision:
        """The router's decision; of a migration that is rolled back, legacy serves every call and comparisons go on.

        Legacy serves every call as long as the state of this machine is refused.
        """
        self.follow()
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

    def follow(self) -> None:
        """Follow from now on what the other processes of this machine decide, without waiting for the first call."""
        self._worker.start()

    @property
    def tripped(self) -> frozenset[str]:
        """The migrations that are rolled back."""
        return self._tripped

    def trip(self, migration: str) -> None:
        """Let legacy serve every further call of this process."""
        with self._judging:
            self._tripped |= {migration}

    def restart(self, migration: str, *, epoch: int) -> None:
        """Let the router decide again; evidence begins with nothing."""
        with self._judging:
            self._judges.pop(migration, None)
            self._memory.pop(migration, None)
            self._worker.epochs[migration] = epoch
            self._tripped -= {migration}

    # As an observer

    def operation(self, operation: Operation) -> AbstractContextManager[None]:
        """Judge the run that answers a call, when it ends or hangs."""
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
        """Do nothing."""

    def tell(self, noticed: Callable[[Notice], None]) -> None:
        """Send notices of what is done and what fails to `noticed`; until then they go to the log."""
        self._worker.tell = noticed

    # For the worker

    def look_back(self) -> None:
        """Rule on what earlier processes have written down."""
        for migration in self._worker.known_at_start():
            self._judge_what_is_known(migration)

    def look_for_hangs(self) -> None:
        """Take in the runs that hang, as timeouts."""
        for operation in self._in_flight.take_hanging():
            self._finished(operation, self._hang_seconds, str(ErrorKind.TIMEOUT))

    def take_in_foreign(self, migration: str, call: BadCall) -> None:
        """Take in a bad call of another process of this machine."""
        with self._judging:
            judge = self._judge(migration)
            self._act_on(judge.ruling(judge.take_in(call), at=call.at, last=call))

    def evidence(self, migration: str) -> float:
        """The evidence against a candidate so far; 1 is none."""
        with self._judging:
            return self._judge(migration).evidence.total

    def figures(self) -> GuardFigures:
        """Figures for metrics, at this moment."""
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

        A cancellation comes from the caller; what ends the process is evidence against neither side; anything else,
        such as a panic of a library, is a failure.
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
            return  # a fallback to legacy is no evidence, and calls in flight at a rollback change nothing
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
        """Rule at once if what earlier processes wrote down suffices: one may have died before it could rule."""
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
