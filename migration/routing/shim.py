"""The callable in front of a legacy function and its candidate.

A call goes through `Shim._policy`: decide once, run the chosen side, fall back to legacy on proof that the candidate
sent nothing, hand a sampled call over to be compared. The policy is a generator that yields the side to run; `__call__`
drives it for callers that block, `_coroutine` for callers that await. Legacy runs in the driver's own frame.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import time
from collections.abc import Callable, Coroutine, Generator
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from types import FunctionType
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast, overload

from migration.model.declaration import Migration
from migration.model.errors import (
    CandidateUnavailableError,
    DeclarationError,
    LoopUnavailableError,
)
from migration.model.model import Call, CallSite, Decision, Entrance, NoticeKind, Operation, Outcome, Side
from migration.model.ports import Recording
from migration.routing.likeness import (
    AwaitableForm,
    BoundShim,
    FunctionProxy,
    handed_on,
    nested_call,
    returns_coroutine,
    twin_of,
)
from migration.routing.runtime import Runtime, current_runtime
from migration.running.candidate import Candidate
from migration.running.in_flight import (
    POLL_SECONDS,
    calling_site,
    inside_a_call,
    inside_running_loop,
    side_around,
    side_context,
)
from migration.running.observers import ContainedRecording
from migration.running.propagation import in_thread
from migration.shadow.isolated import Shadow

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
T = TypeVar("T")

Policy = Generator[Side, Outcome[R], T]
"""Yields the side to run, and is sent how that ended."""


class Shim(FunctionProxy, Generic[P, R]):
    """Behaves as the legacy function does; `.aio(...)` is the same for callers that can await.

    Which side serves is decided once a call. Exceptions of the side that served reach the caller as they are.

    Attributes:
        migration: the declaration.
        original: the function that the shim was put in front of.
        legacy: the legacy side, which stays what it is while references to `original` are redirected.
        candidate: the other side.
        installed: whether calls are routed; if not, legacy serves as if there were no migration.
    """

    __slots__ = (
        "_aio",
        "_awaited",
        "_function_name",
        "_protected",
        "_runtime",
        "candidate",
        "installed",
        "migration",
        "original",
    )
    __doc__ = handed_on("__doc__", __doc__)
    __module__ = handed_on("__module__", __module__)
    __annotations__ = handed_on("__annotations__", {})

    def __init__(self, migration: Migration, legacy: Callable[P, R], runtime: Runtime | None = None) -> None:
        if not hasattr(legacy, "__qualname__"):
            raise DeclarationError(f"a {type(legacy).__name__} has no name to be traced by; wrap it in a `def`")
        if isinstance(legacy, staticmethod | classmethod):
            raise DeclarationError(f"{legacy.__qualname__}: put the migration below its @{type(legacy).__name__}")
        super().__init__(twin_of(legacy) if type(legacy) is FunctionType else legacy)
        self.original = legacy
        self._awaited = returns_coroutine(legacy)
        self._function_name = f"{legacy.__module__}:{legacy.__qualname__}"
        self._aio = AwaitableForm[P, R](legacy, lambda args, kwargs: self._coroutine(calling_site(), args, kwargs))
        self.use(migration, runtime)

    @property
    def legacy(self) -> Callable[P, R]:
        """The legacy side."""
        return self._function

    def use(self, migration: Migration, runtime: Runtime | None) -> None:
        """Route calls by this declaration from now on, wherever the shim is held."""
        self.migration = migration
        self.candidate: Candidate[P, R] = Candidate(migration.candidate)
        self._runtime = runtime
        self._protected: Callable[P, R] = migration.protect(self.legacy)
        self.installed = True

    def retire(self) -> None:
        """Let legacy serve, as if there were no migration."""
        self.installed = False
        self._protected = self.legacy

    @property
    def runtime(self) -> Runtime:
        """The runtime that this shim uses."""
        return self._runtime or current_runtime()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call as the legacy function is called."""
        if self._awaited:
            return cast("R", self._coroutine(calling_site(), args, kwargs))
        try:
            side, policy = self._begin(args, kwargs)
        except RecursionError:  # too few frames are left for a decision; legacy may need none
            side, policy = Side.LEGACY, None
        if policy is None:
            with nested_call:
                return self._protected(*args, **kwargs)
        if side is Side.CANDIDATE:
            try:
                outcome = self.candidate.run_blocking(self.runtime.loop, self.migration.name, args, kwargs)
            except BaseException as error:  # the process is interrupted
                _abandon(policy, error)
                raise
            ended = _go_on(policy, outcome)
            try:
                if isinstance(ended, Outcome):
                    return ended.unwrap()
            finally:
                del outcome, ended  # an exception in them refers to this frame: they would keep each other alive
        start = time.perf_counter()
        try:
            value = self._protected(*args, **kwargs)
        except BaseException as error:
            self._end(policy, error, start)
            raise
        self._end(policy, None, start, value)
        if self._awaited is None:
            self._learn(value)
        return value

    @property
    def aio(self) -> Callable[P, Coroutine[Any, Any, R]]:
        """Call without blocking the running event loop. Legacy that blocks runs in a thread, to its end."""
        return self._aio

    def _begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Side, Policy[R, Outcome[R]] | None]:
        """The side to run, and the policy to be told how that ended; None if legacy runs without one."""
        if not self.installed:
            return Side.LEGACY, None
        runtime, entrance = self.runtime, Entrance.SYNC
        if inside_running_loop():
            entrance = Entrance.BLOCKING
            if self._awaited is not None:
                runtime.report_blocked_loop(self.migration.name, calling_site())
        only_legacy = runtime.must_not_wait()
        around = side_around(self.migration.name)
        if around is not None:
            itself = around.candidate is self.candidate and self.candidate.blocks  # it means what it replaces
            if only_legacy or itself or around.side is Side.LEGACY:
                return Side.LEGACY, None
            policy = self._nested(Side.CANDIDATE)
        else:
            while runtime.in_flight.held and not inside_a_call():
                time.sleep(POLL_SECONDS)  # the process is about to end; what has not begun is not left half done
            unsure = self._awaited is None and entrance is Entrance.BLOCKING  # its caller may be about to await it
            policy = self._policy(calling_site(), args, kwargs, entrance, only_legacy=only_legacy or unsure)
        return next(policy), policy

    async def _coroutine(self, site: CallSite, args: tuple[Any, ...], kwargs: dict[str, Any]) -> R:
        if not self.installed:
            return await self._legacy_awaited(args, kwargs)
        while self.runtime.in_flight.held and not inside_a_call():  # noqa: ASYNC110  # other threads change it
            await asyncio.sleep(POLL_SECONDS)  # as above
        around = side_around(self.migration.name)
        policy = self._nested(around.side) if around else self._policy(site, args, kwargs, Entrance.AWAITED)
        side = next(policy)
        if side is Side.CANDIDATE:
            try:
                outcome = await self.candidate.run_awaited(
                    self.runtime.loop, self.migration.name, args, kwargs, here=self.runtime.on_background_loop()
                )
            except BaseException as error:  # the caller is cancelled
                _abandon(policy, error)
                raise
            ended = _go_on(policy, outcome)
            try:
                if isinstance(ended, Outcome):
                    return ended.unwrap()
            finally:
                del outcome, ended  # as above
        start = time.perf_counter()
        try:
            value = await self._legacy_awaited(args, kwargs)
        except BaseException as error:
            self._end(policy, error, start)
            raise
        self._end(policy, None, start, value)
        return value

    async def _legacy_awaited(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> R:
        if self._awaited:
            return await cast("Coroutine[Any, Any, R]", self._protected(*args, **kwargs))
        return (await in_thread(functools.partial(self._legacy_outcome, args, kwargs))).unwrap()

    def _legacy_outcome(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Outcome[R]:
        """Legacy in a thread, whose future cannot hold every exception."""
        try:
            return Outcome(side=Side.LEGACY, seconds=0.0, value=self._protected(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  # raised again for the caller by `Outcome.unwrap`
            return Outcome(side=Side.LEGACY, seconds=0.0, error=error)

    def _end(
        self, policy: Policy[R, Outcome[R]], error: BaseException | None, start: float, value: R | None = None
    ) -> None:
        """Tell the policy how legacy ended. Whatever comes of that, the caller gets what legacy gave."""
        seconds = time.perf_counter() - start
        if not isinstance(error, Exception | None):
            _abandon(policy, error)
            return
        try:
            policy.send(Outcome(side=Side.LEGACY, seconds=seconds, value=value, error=error))
        except StopIteration:
            return
        except RecursionError:
            return  # too few frames are left, also to say so
        except Exception as failure:  # noqa: BLE001  # as the docstring says
            self.runtime.observers.failed(self.migration, failure)

    def _learn(self, value: object) -> None:
        """Note from legacy's first result whether its callers await it."""
        self._awaited = inspect.iscoroutine(value)
        if not self._awaited and (inspect.isawaitable(value) or inspect.isasyncgen(value)):
            self.retire()
            text = (
                f"{self._function_name} returns a {type(value).__name__}, for which the candidate has no counterpart: "
                "legacy serves all calls; put the migration in front of a function that returns or awaits its result"
            )
            self.runtime.notice(NoticeKind.DECLARATION_FAILED, self.migration.name, text)

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
        if decision.shadow and not inspect.isawaitable(outcome.value):  # a result that is awaited is not there yet
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
        with self.runtime.observers.operation(run), side_context(side, self.migration.name, self.candidate):
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
            why = str(error) if isinstance(error, LoopUnavailableError) else type(error).__name__
            text = f"the candidate sent nothing ({why}); legacy served the call"
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
            function=self._function_name,
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

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Shim[P, R]: ...

    @overload
    def __get__(self: Shim[Concatenate[Any, Q], R], instance: object, owner: type | None = None) -> BoundShim[Q, R]: ...

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """Bind to an instance, as a function does."""
        return self if instance is None else BoundShim(self, instance)

    def __eq__(self, other: object) -> bool:
        """Whether it is the same, or the function itself: who keeps functions by themselves finds it by either."""
        return other is self or other is self.original

    def __hash__(self) -> int:
        return hash(self.original)

    def __repr__(self) -> str:
        return f"<{self._function_name} behind migration {self.migration.name!r}>"


def _go_on(policy: Policy[R, Outcome[R]], outcome: Outcome[R]) -> Side | Outcome[R]:
    """Tell the policy how a side ended: the side to run next, or how the call ended."""
    try:
        return policy.send(outcome)
    except StopIteration as finished:
        return cast("Outcome[R]", finished.value)


def _abandon(policy: Policy[R, Outcome[R]], error: BaseException) -> None:
    """Tell the policy that its call is interrupted by `error`, which its driver raises again, as it was."""
    trace = error.__traceback__
    with suppress(BaseException):
        policy.throw(error)
    BaseException.__setattr__(error, "__traceback__", trace)  # also of a frozen one
