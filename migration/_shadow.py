"""Runs the other side of a call after its caller has been answered, and compares. Off the caller's path, bounded."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from migration._candidate import Candidate
from migration._compare import Facts, differences, masked_fields, outcome_facts, request_facts
from migration._declaration import Migration
from migration._errors import LoopClosedError
from migration._loop import BackgroundLoop
from migration._model import Call, Comparison, Decision, Difference, Operation, Outcome, Role, Side, Verdict
from migration._observers import Observers
from migration._pins import pinned
from migration._ports import Witness
from migration._run import run_candidate, run_legacy

CONCURRENT_SHADOWS = 2
"""How many shadows run at once; further ones wait."""


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
    witness: Witness | None
    facts: Facts = field(default_factory=dict, repr=False)

    def comparison(self, verdict: Verdict, **what: Any) -> Comparison:
        """A comparison of this call."""
        return Comparison(
            call=self.call,
            decision=self.decision,
            verdict=verdict,
            primary_seconds=self.seconds,
            primary_trace=self.trace,
            **what,
        )


class ShadowRunner:
    """Takes sampled calls and reports a comparison for each.

    Args:
        observers: who is told of the comparisons, and sees the shadows run.
        capacity: how many may wait or run at once; more are dropped, which is reported as well.
        seconds: how long one may take.
    """

    def __init__(self, *, observers: Observers, capacity: int = 64, seconds: float = 60.0) -> None:
        self._observers = observers
        self._capacity = capacity
        self._seconds = seconds
        self._loop = BackgroundLoop("migration-shadow", drain_seconds=2.0)
        self._reset()
        _runners.add(self)

    def _reset(self) -> None:
        """Begin with nothing pending; a fork does not carry over what runs."""
        self._pending = 0
        self._lock = threading.Lock()
        self._turn: asyncio.Semaphore | None = None

    @property
    def pending(self) -> int:
        """Shadows that wait or run."""
        return self._pending

    def submit(self, shadow: Shadow) -> None:
        """Take a sampled call, or drop it when there is no room. Returns at once and never raises."""
        with self._lock:
            full = self._pending >= self._capacity
            self._pending += 0 if full else 1
        if full:
            self.drop(shadow, f"{self._capacity} shadows are already waiting")
            return
        try:
            # an empty context: the shadow belongs to no caller's span, deadline or transaction
            job = self._loop.submit(lambda: self._take_turn(shadow), contextvars.Context())
        except (LoopClosedError, RuntimeError) as error:
            self._finished()
            self.drop(shadow, f"no shadow can be started: {error}")
        else:
            job.future.add_done_callback(lambda _future: self._finished())

    def drop(self, shadow: Shadow, why: str) -> None:
        """Report that a sampled call is not compared."""
        self._report(shadow.comparison(Verdict.DROPPED, detail=why))

    def drain(self, timeout: float) -> bool:
        """Wait until nothing is pending, at most `timeout` seconds; whether that came true. For tests and demos."""
        idle = threading.Event()
        deadline = threading.Timer(timeout, idle.set)
        deadline.daemon = True
        deadline.start()
        while self._pending and not idle.is_set():
            idle.wait(0.01)
        deadline.cancel()
        return self._pending == 0

    def close(self, timeout: float | None = None) -> None:
        """Finish what can be finished in `timeout` seconds, and stop."""
        self._loop.close(timeout)

    @property
    def loop(self) -> BackgroundLoop:
        """Where shadows run."""
        return self._loop

    def _finished(self) -> None:
        with self._lock:
            self._pending -= 1

    def _report(self, comparison: Comparison) -> None:
        self._observers.compared(comparison)

    async def _take_turn(self, shadow: Shadow) -> None:
        if self._turn is None:
            self._turn = asyncio.Semaphore(CONCURRENT_SHADOWS)
        try:
            async with self._turn, asyncio.timeout(self._seconds):
                comparison = await self._compare(shadow)
        except TimeoutError:
            comparison = shadow.comparison(Verdict.DROPPED, detail=f"not finished within {self._seconds:g} s")
        except asyncio.CancelledError:
            self.drop(shadow, "the process is ending")
            raise
        except Exception as error:  # noqa: BLE001  # a comparison that fails is a dropped one, with its reason
            comparison = shadow.comparison(
                Verdict.DROPPED, detail=f"the comparison failed: {type(error).__name__}: {error}"
            )
        self._report(comparison)

    async def _compare(self, shadow: Shadow) -> Comparison:
        witness = shadow.witness
        if witness is None:
            return shadow.comparison(Verdict.DROPPED, detail="nothing was witnessed that could be replayed")
        refusal = witness.refusal()
        if refusal is not None:
            return shadow.comparison(Verdict.DROPPED, detail=refusal)
        if witness.stale():
            return shadow.comparison(Verdict.STALE_INPUT, detail="the input changed after the call")

        # The side that served runs again too: so what it sends is known without hashing on the caller's path.
        served, served_sent, _ = await self._rehearse(shadow, witness, shadow.side)
        other, other_sent, run = await self._rehearse(shadow, witness, shadow.side.other)
        if witness.stale():
            return shadow.comparison(Verdict.STALE_INPUT, detail="the input changed during the comparison")

        masked = shadow.migration.masked
        unfaithful = differences(shadow.facts, outcome_facts(shadow.migration, served), masked)
        if unfaithful:
            fields = ", ".join(difference.field for difference in unfaithful)
            return shadow.comparison(
                Verdict.DROPPED, differences=unfaithful, detail=f"{shadow.side} did not do the same again: {fields}"
            )
        pair = (served, served_sent), (other, other_sent)
        legacy, candidate = pair if shadow.side is Side.LEGACY else pair[::-1]
        facts = [
            {**outcome_facts(shadow.migration, outcome), **request_facts(sent)} for outcome, sent in (legacy, candidate)
        ]
        found = differences(facts[0], facts[1], masked)
        return shadow.comparison(
            _verdict(legacy[0], candidate[0], found),
            differences=found,
            masked=masked_fields(facts[0], masked),
            shadow_seconds=other.seconds,
            shadow_trace=run.trace,
        )

    async def _rehearse(self, shadow: Shadow, witness: Witness, side: Side) -> tuple[Outcome[Any], Any, Operation]:
        operation = Operation(
            call=shadow.call, decision=shadow.decision, side=side, role=Role.SHADOW, link=shadow.trace
        )
        with pinned(side):
            async with witness.rehearse(side) as rehearsal:
                with self._observers.operation(operation):
                    if side is Side.LEGACY:
                        outcome = await asyncio.to_thread(run_legacy, shadow.legacy, rehearsal.args, rehearsal.kwargs)
                    else:
                        outcome = await run_candidate(shadow.candidate, rehearsal.args, rehearsal.kwargs)
                    operation.outcome = outcome
                return outcome, rehearsal.seen(), operation


_runners: weakref.WeakSet[ShadowRunner] = weakref.WeakSet()


def _reset_all() -> None:
    for runner in list(_runners):
        runner._reset()  # noqa: SLF001  # the module's own class


os.register_at_fork(after_in_child=_reset_all)


def _verdict(legacy: Outcome[Any], candidate: Outcome[Any], found: tuple[Difference, ...]) -> Verdict:
    if legacy.error is None and candidate.error is not None:
        return Verdict.CANDIDATE_ERROR
    if legacy.error is not None and candidate.error is None:
        return Verdict.LEGACY_ERROR
    if found:
        return Verdict.DIFFERENT
    return Verdict.IDENTICAL if legacy.error is None else Verdict.SAME_ERROR
