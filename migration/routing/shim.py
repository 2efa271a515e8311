"""The callable in front of a legacy function and its candidate.

A call goes through `Shim._policy`: decide once, run the chosen side, fall back to legacy on proof that the candidate
sent nothing, hand a sampled call over to be compared. The policy is a generator that yields the side to run; `__call__`
drives it for callers that block, `aio` for callers that await.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import time
from collections.abc import Callable, Coroutine, Generator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast, overload

from migration.model.declaration import Migration
from migration.model.driver import drive, drive_async
from migration.model.errors import (
    CandidateCancelledError,
    CandidateUnavailableError,
    DeclarationError,
    LoopUnavailableError,
    MigrationError,
)
from migration.model.model import Call, CallSite, Decision, Entrance, NoticeKind, Operation, Outcome, Side
from migration.model.ports import Recording
from migration.routing.runtime import Runtime, current_runtime
from migration.running.in_flight import POLL_SECONDS, calling_site, inside_a_call, side_context, side_of_context
from migration.running.loop import Candidate
from migration.running.observers import ContainedRecording
from migration.shadow.isolated import Shadow, is_being_cancelled

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
T = TypeVar("T")

Policy = Generator[Side, Outcome[R], T]
"""Yields the side to run, and is sent how that ended."""


class Shim(Generic[P, R]):
    """Behaves as the legacy function does; `.aio(...)` is the same for callers that can await.

    Which side serves is decided once a call. Exceptions of the side that served reach the caller as they are.
    """

    __name__: str
    __qualname__: str

    def __init__(self, migration: Migration, legacy: Callable[P, R], runtime: Runtime | None = None) -> None:
        if not hasattr(legacy, "__qualname__"):
            raise DeclarationError(f"a {type(legacy).__name__} has no name to be traced by; wrap it in a `def`")
        if inspect.iscoroutinefunction(legacy):
            raise DeclarationError(f"{legacy.__qualname__} is asynchronous; the legacy side of a migration is not")
        if isinstance(legacy, staticmethod | classmethod):
            raise DeclarationError(f"{legacy.__qualname__}: put the migration below its @{type(legacy).__name__}")
        functools.update_wrapper(cast("Callable[..., Any]", self), legacy)
        self.migration = migration
        self.legacy = legacy
        self._protected: Callable[P, R] = migration.protect(legacy)
        self.candidate: Candidate[P, R] = Candidate(migration.candidate)
        self._runtime = runtime
        self._function = f"{legacy.__module__}:{legacy.__qualname__}"

    @property
    def runtime(self) -> Runtime:
        """The runtime that this shim uses."""
        return self._runtime or current_runtime()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call as the legacy function is called."""
        site, runtime, entrance = calling_site(), self.runtime, Entrance.SYNC
        while runtime.in_flight.held and not inside_a_call():
            time.sleep(POLL_SECONDS)  # the process is about to end; a call that has not begun is not left half done
        if _inside_running_loop():
            entrance = Entrance.BLOCKING
            runtime.report_blocked_loop(self.migration.name, site)
        policy = self._policy(site, args, kwargs, entrance, only_legacy=runtime.must_not_wait())
        return drive(policy, functools.partial(self._run, args, kwargs)).unwrap()

    def aio(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Call without blocking the running event loop. Legacy runs in a thread, which a cancellation cannot stop."""
        return self._aio(calling_site(), args, kwargs)

    async def _aio(self, site: CallSite, args: tuple[Any, ...], kwargs: dict[str, Any]) -> R:
        while self.runtime.in_flight.held and not inside_a_call():  # noqa: ASYNC110  # other threads change it
            await asyncio.sleep(POLL_SECONDS)  # as above
        policy = self._policy(site, args, kwargs, Entrance.AWAITED)
        return (await drive_async(policy, functools.partial(self._run_async, args, kwargs))).unwrap()

    # The policy

    def _policy(
        self,
        site: CallSite,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        entrance: Entrance,
        *,
        only_legacy: bool = False,
    ) -> Policy[R, Outcome[R]]:
        """Decide, run, fall back if need be, and hand a sampled call over.

        `only_legacy` is for synchronous calls from inside a candidate: the candidate could not be waited for there, and
        one that calls the very function which it replaces means legacy.
        """
        nested = side_of_context(self.migration.name)
        if nested is not None:
            return (yield from self._nested(Side.LEGACY if only_legacy else nested))
        runtime = self.runtime
        call = self._describe(site, args, kwargs, entrance)
        decision = self._comparable(call, runtime.decide(call))
        whole = Operation(call=call, decision=decision)
        with runtime.in_flight, runtime.observers.operation(whole):
            with self._recording(call, decision) as recording:
                outcome, trace = yield from self._observed(whole, Side.LEGACY if only_legacy else decision.serve)
            if self._may_fall_back(outcome):
                recording = None  # the answers of two sides are mixed
                outcome, trace = yield from self._observed(whole, Side.LEGACY)
            whole.outcome = outcome
        if decision.shadow:
            self._hand_over(call, decision, outcome, trace, recording)
        return outcome

    def _nested(self, side: Side) -> Policy[R, Outcome[R]]:
        """A call within a call stays on its side: neither decided nor traced nor compared."""
        outcome = yield side
        if self._may_fall_back(outcome):  # here: to the call around it, something of which has run, it proves nothing
            outcome = yield Side.LEGACY
        return outcome

    def _observed(self, whole: Operation, side: Side) -> Policy[R, tuple[Outcome[R], str | None]]:
        """Run a side; its outcome, and the W3C traceparent of the run."""
        run = Operation(call=whole.call, decision=whole.decision, side=side)
        with self.runtime.observers.operation(run), side_context(side, self.migration.name):
            outcome = self.migration.classified((yield side))
            run.outcome = outcome
        return outcome, run.trace

    def _may_fall_back(self, outcome: Outcome[R]) -> bool:
        """Whether the candidate failed in a way that proves that it has sent nothing, so that legacy may serve."""
        error, notice, name = outcome.error, self.runtime.notice, self.migration.name
        if error is None or outcome.side is Side.LEGACY:
            return False
        if isinstance(error, CandidateUnavailableError):
            notice(NoticeKind.CANDIDATE_UNAVAILABLE, name, f"{error}; legacy served the call")
            return True
        if isinstance(error, LoopUnavailableError) or self.migration.proves_nothing_sent(error):
            text = f"the candidate sent nothing ({type(error).__name__}); legacy served the call"
            notice(NoticeKind.FELL_BACK, name, text)
            return True
        return False

    # What the policy asks of the declaration, whose functions may fail in any way

    def _describe(self, site: CallSite, args: tuple[Any, ...], kwargs: dict[str, Any], entrance: Entrance) -> Call:
        attributes: dict[str, str | int] = {}
        try:
            attributes.update(self.migration.attributes(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  # see above
            self.runtime.observers.failed(self.migration, error)
        return Call(
            migration=self.migration.name,
            function=self._function,
            call_id=self.runtime.new_call_id(),
            args=args,
            kwargs=kwargs,
            site=site,
            attributes=attributes,
            entrance=entrance,
        )

    def _comparable(self, call: Call, decision: Decision) -> Decision:
        """The decision, without its comparison if `run_if` does not let this call be compared."""
        if not decision.shadow:
            return decision
        try:
            if self.migration.run_if(*call.args, **call.kwargs):
                return decision
        except Exception as error:  # noqa: BLE001  # see above
            text = f"`run_if` failed with {type(error).__name__}: the call is not compared"
            self.runtime.notice(NoticeKind.DECLARATION_FAILED, self.migration.name, text)
        return replace(decision, shadow=False)

    def _recording(self, call: Call, decision: Decision) -> AbstractContextManager[Recording | None]:
        """Records the primary run of a sampled call."""
        recorder = self.migration.recorder
        if not decision.shadow or recorder is None:
            return nullcontext()
        return ContainedRecording(self.runtime.observers, lambda: recorder.record(call))

    def _hand_over(
        self, call: Call, decision: Decision, outcome: Outcome[R], trace: str | None, recording: Recording | None
    ) -> None:
        """Have an answered call compared. Its facts are begun now: the caller may change its result."""
        shadow = Shadow(
            migration=self.migration,
            legacy=self._protected,
            candidate=self.candidate,
            call=call,
            decision=decision,
            side=outcome.side,
            seconds=outcome.seconds,
            trace=trace,
            recording=recording,
        )
        try:
            shadow.begin_facts(outcome)
        except Exception as error:  # noqa: BLE001  # see above
            self.runtime.shadows.drop(shadow, f"the facts of the result cannot be taken: {type(error).__name__}")
        else:
            self.runtime.shadows.submit(shadow)

    # How a side is run: an outcome is returned, and only what is meant for the whole process is raised

    def _run(self, args: tuple[Any, ...], kwargs: dict[str, Any], side: Side) -> Outcome[R]:
        if side is Side.CANDIDATE:
            return self._run_candidate(args, kwargs)
        start = time.perf_counter()
        try:
            value = self._protected(*args, **kwargs)
        except Exception as error:  # noqa: BLE001  # an outcome, raised again for the caller by `Outcome.unwrap`
            return Outcome(side=side, seconds=time.perf_counter() - start, error=error)
        return Outcome(side=side, seconds=time.perf_counter() - start, value=value)

    def _run_candidate(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Outcome[R]:
        start = time.perf_counter()
        try:
            self.candidate.load()
            return self.runtime.loop.run(lambda: self.candidate.run(args, kwargs))
        except asyncio.CancelledError:
            return self._not_run(start, CandidateCancelledError(self.migration.name))
        except MigrationError as error:
            return self._not_run(start, error)

    async def _run_async(self, args: tuple[Any, ...], kwargs: dict[str, Any], side: Side) -> Outcome[R]:
        if side is Side.LEGACY:
            return await asyncio.to_thread(self._run, args, kwargs, side)
        start = time.perf_counter()
        try:
            if not self.candidate.loaded:
                await asyncio.to_thread(self.candidate.load)
            if self.runtime.on_background_loop():
                return await self.candidate.run(args, kwargs)
            return await self.runtime.loop.run_async(lambda: self.candidate.run(args, kwargs))
        except asyncio.CancelledError:
            if is_being_cancelled():
                raise
            return self._not_run(start, CandidateCancelledError(self.migration.name))
        except MigrationError as error:
            return self._not_run(start, error)

    @staticmethod
    def _not_run(start: float, error: MigrationError) -> Outcome[R]:
        return Outcome(side=Side.CANDIDATE, seconds=time.perf_counter() - start, error=error)

    # What makes it pass for the function that it replaces

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Shim[P, R]: ...

    @overload
    def __get__(self: Shim[Concatenate[Any, Q], R], instance: object, owner: type | None = None) -> BoundShim[Q, R]: ...

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """Bind to an instance, as a function does."""
        return self if instance is None else BoundShim(cast("Shim[..., Any]", self), instance)

    def __reduce__(self) -> str:
        """Pickle by name, as a function does."""
        return self.legacy.__qualname__

    def __repr__(self) -> str:
        return f"<{self._function} behind migration {self.migration.name!r}>"


class BoundShim(Generic[Q, R]):
    """A shim bound to an instance, as a method is."""

    def __init__(self, shim: Shim[Concatenate[Any, Q], R], instance: object) -> None:
        self.__func__ = shim
        self.__self__ = instance
        self.__wrapped__ = shim.legacy.__get__(instance)
        self.__module__, self.__doc__ = shim.legacy.__module__, shim.legacy.__doc__

    def __call__(self, *args: Q.args, **kwargs: Q.kwargs) -> R:
        """Call as the legacy method is called."""
        return self.__func__(self.__self__, *args, **kwargs)

    def aio(self, *args: Q.args, **kwargs: Q.kwargs) -> Coroutine[Any, Any, R]:
        """Call without blocking the running event loop."""
        return self.__func__.aio(self.__self__, *args, **kwargs)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BoundShim):
            return NotImplemented
        return self.__func__ is other.__func__ and self.__self__ is other.__self__

    def __hash__(self) -> int:
        return hash((id(self.__func__), id(self.__self__)))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by name, as a method does."""
        return getattr, (self.__self__, self.__func__.legacy.__name__)

    def __repr__(self) -> str:
        return f"<bound {self.__func__!r} of {self.__self__!r}>"

    def __getattr__(self, name: str) -> Any:
        """What else a method has (`__name__`, `__doc__`, ...)."""
        return getattr(self.__wrapped__, name)


def _inside_running_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
