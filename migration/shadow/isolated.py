"""A sampled call, and running its sides isolated: one that hangs or would end the process costs only its own run."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from typing import Any

from migration.model.declaration import Migration
from migration.model.model import Call, Comparison, Decision, Outcome, Side, Verdict
from migration.model.ports import Recording, Sent
from migration.running.loop import Candidate
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
    recording: Recording | None
    facts: Facts = field(default_factory=dict, repr=False)

    def comparison(self, verdict: Verdict, **what: Any) -> Comparison:
        """A comparison of this call, without its arguments: it is kept longer than the call."""
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
        """A comparison that was not made, with the reason."""
        return self.comparison(Verdict.DROPPED, detail=why)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """A further run of a side: its outcome, its requests, and its W3C traceparent."""

    outcome: Outcome[Any] = field(repr=False)
    sent: Sent = field(repr=False)
    trace: str | None


MAX_STUCK = 8
"""Runs that were given up and have not ended. With so many of them no further shadow is taken."""

GRACE_SECONDS = 1.0
"""How long a cancelled candidate may take to end; then it is given up."""


class IsolatedRunner:
    """Runs sides; whatever a side raises is an outcome.

    Legacy runs in a daemon thread of its own, because the interpreter waits at its exit for the threads of a pool.
    """

    def __init__(self) -> None:
        self._stuck = 0

    @property
    def stuck(self) -> int:
        """Runs that were given up and have not ended."""
        return self._stuck

    async def legacy(
        self, legacy: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Outcome[Any]:
        """Run legacy in a thread, in a copy of this context. A cancellation ends the waiting, not the thread."""
        loop, context = asyncio.get_running_loop(), copy_context()
        ended: asyncio.Future[None] = loop.create_future()
        outcome: list[Outcome[Any]] = []

        def run() -> None:
            outcome.append(context.run(_legacy_to_its_end, legacy, args, kwargs))
            with suppress(RuntimeError):  # the loop is closed, and with it what waited
                loop.call_soon_threadsafe(ended.set_result, None)

        threading.Thread(target=run, name="migration-shadow-legacy", daemon=True).start()
        await self._end_of(ended)
        return outcome.pop()  # taken out: its exception keeps `run`, which would keep it, and the arguments, alive

    async def candidate(
        self, candidate: Candidate[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Outcome[Any]:
        """Run the candidate in a task. A cancellation is passed on, and waits for it at most `GRACE_SECONDS`."""
        task = asyncio.create_task(_candidate_to_its_end(candidate, args, kwargs))
        try:
            await self._end_of(task)
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task}, timeout=GRACE_SECONDS)
        return task.result()

    async def _end_of(self, ended: asyncio.Future[Any]) -> None:
        try:
            await asyncio.wait({ended})
        finally:
            if not ended.done():
                self._stuck += 1
                ended.add_done_callback(self._ended_late)

    def _ended_late(self, _ended: object) -> None:
        self._stuck -= 1


def _legacy_to_its_end(legacy: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Outcome[Any]:
    start = time.perf_counter()
    try:
        value = legacy(*args, **kwargs)
    except BaseException as error:  # noqa: BLE001  # a side that would end the process is one that failed
        return Outcome(side=Side.LEGACY, seconds=time.perf_counter() - start, error=error)
    return Outcome(side=Side.LEGACY, seconds=time.perf_counter() - start, value=value)


async def _candidate_to_its_end(
    candidate: Candidate[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Outcome[Any]:
    start = time.perf_counter()
    try:
        return await candidate.run(args, kwargs)
    except BaseException as error:
        if isinstance(error, GeneratorExit) or is_being_cancelled():
            raise
        return Outcome(side=Side.CANDIDATE, seconds=time.perf_counter() - start, error=error)


def is_being_cancelled() -> bool:
    """Whether this task is cancelled from outside; a candidate can also cancel itself, which is how it failed."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
