"""What the migrations of a process share: the router, the observers, the loops of candidates and of comparing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from migration.forking import new_lock
from migration.model.errors import AwaitInsteadError
from migration.model.model import Call, CallSite, Decision, Notice, NoticeKind, Reason, Side
from migration.model.ports import Observer, Router
from migration.running.in_flight import InFlightCalls, OncePerSite, new_call_id
from migration.running.loop import BackgroundLoop
from migration.running.observers import Observers
from migration.shadow.admission import ShadowLimits
from migration.shadow.runner import ShadowRunner

P = ParamSpec("P")
R = TypeVar("R")


class AlwaysLegacy:
    """The router of a process that is not configured."""

    def decide(self, call: Call) -> Decision:  # noqa: ARG002  # whatever the call is
        """Legacy serves."""
        return Decision(serve=Side.LEGACY, reason=Reason.DEFAULT, source="unconfigured")


class Runtime:
    """Router, observers and background loops of one process.

    Args:
        router: decides which side serves; `AlwaysLegacy` if None.
        observers: see calls, runs and comparisons.
        shadow_limits: what comparing may cost; what exceeds it is dropped and counted.
        drain_seconds: how long running candidates may go on at exit.
        new_loop: makes the event loop on which candidates run.
        new_call_id: makes the id of a call: unique, also across processes, and not to be guessed.
    """

    def __init__(
        self,
        *,
        router: Router | None = None,
        observers: Iterable[Observer] = (),
        shadow_limits: ShadowLimits | None = None,
        drain_seconds: float = 10.0,
        new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
        new_call_id: Callable[[], str] = new_call_id,
    ) -> None:
        self.observers = Observers(observers)
        self.loop = BackgroundLoop("migration-candidate", drain_seconds=drain_seconds, new_loop=new_loop)
        self.in_flight = InFlightCalls()
        self.shadows = ShadowRunner(
            candidates=self.loop, observers=self.observers, limits=shadow_limits, calls=self.in_flight
        )
        self.loop.on_drained(lambda timeout: self.shadows.close(timeout))  # noqa: PLW0108  # another may be put there
        self.new_call_id = new_call_id
        self._router = router or AlwaysLegacy()
        self._blocking_sites = OncePerSite()

    def decide(self, call: Call) -> Decision:
        """Ask the router once. If it fails, legacy serves and the call is not compared."""
        if self.loop.closed:
            return Decision(serve=Side.LEGACY, reason=Reason.DISABLED, source="shutdown")
        try:
            decision = self._router.decide(call)
            if not isinstance(decision, Decision):
                raise TypeError(f"not a decision: {decision!r}")  # noqa: TRY301  # one place makes the decision
        except Exception as error:  # noqa: BLE001  # a router may fail in any way; legacy serves and the reason is shown
            return Decision(
                serve=Side.LEGACY, reason=Reason.ERROR, source=type(self._router).__name__, error=type(error).__name__
            )
        return decision

    def on_background_loop(self) -> bool:
        """Whether the caller runs on the loop of the candidates, where they can be awaited directly."""
        return self.loop.is_current_thread()

    def must_not_wait(self) -> bool:
        """Whether the caller runs on a loop of this runtime or in a worker of one, where waiting could never end."""
        return self.loop.owns_current_thread() or self.shadows.loop.owns_current_thread()

    def report_blocked_loop(self, migration: str, site: CallSite) -> None:
        """Tell the observers, once a call site, that a synchronous call blocks an event loop there."""
        if self._blocking_sites.is_new(site):
            self.notice(
                NoticeKind.BLOCKED_EVENT_LOOP,
                migration,
                f"{site.file}:{site.line} ({site.function}) calls synchronously inside a running event loop, which "
                "is blocked meanwhile; await the function's `.aio(...)` there instead",
            )

    def notice(self, kind: NoticeKind, migration: str, text: str) -> None:
        """Tell the observers."""
        self.observers.noticed(Notice(kind=kind, migration=migration, text=text))

    def drain(self, seconds: float) -> int:
        """Hold further calls back, and wait for those in flight, at most `seconds`.

        For a process that is about to end; if it does not, call `resume`. A call within one in flight is part of it.

        Returns:
            How many calls are still in flight.
        """
        return self.in_flight.drain(seconds)

    def resume(self) -> None:
        """Let the calls begin that `drain` holds back."""
        self.in_flight.resume()

    def close(self, timeout: float | None = None) -> None:
        """Finish running candidates and then shadows, and stop; later calls are served by legacy."""
        self.loop.close(timeout)
        self.shadows.close(timeout)


_lock = new_lock()
_current: Runtime | None = None


def use_runtime(runtime: Runtime) -> Runtime:
    """Make `runtime` the runtime of this process, and close the one before it."""
    global _current  # the one runtime of the process
    with _lock:
        before, _current = _current, runtime
    if before is not None and before is not runtime:
        before.close()
    return runtime


@contextmanager
def temporary_runtime(runtime: Runtime) -> Iterator[None]:
    """Make `runtime` the runtime of this process inside, and then the one before it again. Closes neither."""
    global _current  # noqa: PLW0603  # the one runtime of the process
    with _lock:
        before, _current = _current, runtime
    try:
        yield
    finally:
        with _lock:
            _current = before


def current_runtime() -> Runtime:
    """The runtime of this process; if none was set, one with which legacy serves everything."""
    global _current  # noqa: PLW0603  # the one runtime of the process
    if _current is None:
        with _lock:
            if _current is None:
                _current = Runtime()
    return _current


def call_blocking(function: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Call an asynchronous function and wait for it; for synchronous callers after a migration is over.

    It runs on the background event loop of the process, where its connections are; exceptions reach the caller as they
    are. A call inside a running event loop blocks that loop: await the asynchronous function there.

    Raises:
        AwaitInsteadError: the caller is on the background loop itself, where waiting could never end.
        LoopUnavailableError: the process is ending, or its thread cannot be started; nothing has run.
    """
    runtime = current_runtime()
    if runtime.must_not_wait():
        raise AwaitInsteadError(getattr(function, "__qualname__", repr(function)))
    return runtime.loop.run(lambda: function(*args, **kwargs))
