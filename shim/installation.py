"""What stands in one process while an application runs: opened in order, closed in order, each step contained."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from contextvars import Context
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Self, TextIO

from flags import UnleashRouter
from migration import (
    Call,
    Decision,
    Migration,
    Observer,
    Router,
    Runtime,
    ShadowLimits,
    install,
    uninstall,
    use_runtime,
)
from migration.forking import new_lock, renew_in_child, unforked
from migration.guard import Guard
from migration.model import LoopUnavailableError, Operation, StoreError
from migration.routing import shim_at
from migration.store import Ledger
from migration.threads import why_no_loop
from observability import HttpTelemetry, Sources, Telemetry, TelemetryHandle, setup, start_loop_watch
from shim.http.httpx_tap import install_httpx_tap, remove_httpx_tap
from shim.http.recording import HttpObserver, watch
from shim.primitives import make_private_folder
from shim.process import SigtermDrain
from shim.process_metrics import ProcessMetrics
from shim.settings import ShimSettings, use_settings
from shim.wiring import ProcessMemory, open_guard, open_ledger, open_router

if TYPE_CHECKING:
    from observability.testing import Capture
    from shim.application import Extension

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """What stands in one process while its migrations are routed. Made by `shim.Application.start`."""

    settings: ShimSettings
    router: UnleashRouter
    runtime: Runtime
    telemetry: TelemetryHandle
    ledger: Ledger
    guard: Guard
    metrics: ProcessMetrics
    begin: Callable[[], None]
    _opened: ExitStack = field(repr=False)
    _kept: ExitStack = field(repr=False)

    @classmethod
    def opened(
        cls,
        settings: ShimSettings,
        *,
        migrations: Mapping[str, Migration],
        extensions: Sequence[Extension],
        console: TextIO | None = None,
        capture: Capture | None = None,
        observers: Sequence[Observer] = (),
    ) -> Self:
        """Open everything and put the migrations in place; see `shim.Application.start`."""
        unfit = why_no_loop()
        if unfit is not None:
            _logger.warning("%s: no migration is put in place, so legacy serves every call", unfit)
            migrations = {}
        with suppress(OSError):  # whatever writes there says so
            make_private_folder(settings.shim_home)
        with ExitStack() as opened, ExitStack() as kept:
            for extension in extensions:
                _in_force(settings, extension.prepare)()
                _undo(kept, "the application's own end", _in_force(settings, extension.end))
            metrics = ProcessMetrics(
                settings.shim_db,
                instance=settings.shim_instance,
                memory=ProcessMemory(),
                pool=lambda: telemetry.pool,
            )
            _undo(kept, "process metrics", metrics.close)
            router = open_router(settings)
            checks = _all_checks(settings, extensions)
            guard = open_guard(settings, router, check_state=checks, made=_all_made(extensions))
            with ExitStack() as without_telemetry:
                without_telemetry.callback(router.close)
                without_telemetry.callback(guard.close)
                telemetry = setup(
                    environ=None if unfit is None else {"OTEL_SDK_DISABLED": "true"},
                    prometheus_port=settings.shim_prometheus_port,
                    console=console,
                    capture=capture,
                    keep_spans=metrics.keep_spans,
                    sources=_sources(guard, extensions),
                )
                without_telemetry.pop_all()
            _undo(kept, "telemetry", telemetry.shutdown)
            _undo(kept, "flags", router.close)
            ledger = open_ledger(settings)
            _undo(kept, "the ledger", ledger.flush)
            _undo(kept, "the guard", guard.close)
            observer = Telemetry(telemetry)
            first_call = _FirstCall(guard)
            runtime = new_runtime(settings, router=first_call, observers=[observer, ledger, guard, metrics, *observers])
            recall_noise(runtime, ledger, {migration.name for migration in migrations.values()})
            guard.tell(runtime.observers.noticed)
            _watch_loop(runtime, observer, metrics)
            beginnings = [_in_force(settings, partial(each.begin, runtime)) for each in extensions]
            first_call.steps = [router.follow, guard.follow, *beginnings]
            put_in_place(opened, runtime, migrations, extensions, http=HttpTelemetry(telemetry))
            sigterm = SigtermDrain()
            _undo(opened, "the handler of SIGTERM", sigterm.remove)
            installation = cls(
                settings=settings,
                router=router,
                runtime=runtime,
                telemetry=telemetry,
                ledger=ledger,
                guard=guard,
                metrics=metrics,
                begin=first_call.begin,
                _opened=opened.pop_all(),
                _kept=kept.pop_all(),
            )
        with ExitStack() as begun:
            begun.callback(installation.stop)
            sigterm.install(installation)
            begun.pop_all()
        return installation

    def stop(self) -> None:
        """Finish calls in flight, take the migrations out, send the last telemetry. Bounded, never raises."""
        self._opened.close()
        self._kept.close()

    def drain(self) -> int:
        """Let no call begin, and wait `DRAIN_TIMEOUT` at most for those in flight; how many have not ended then."""
        return self.runtime.drain(self.settings.drain_timeout)

    def resume(self) -> None:
        """Let calls begin again after `drain`."""
        self.runtime.resume()

    def close(self) -> None:
        """For a process that is killed next: give up what has not ended, send the last telemetry.

        The migrations stay in place, so that nothing begins behind their backs.
        """
        self.runtime.loop.close(0.0)
        self.runtime.shadows.close()
        self._kept.close()


class _FirstCall:
    """A router that begins what is done in the background with the first call of each process, and not before.

    Until then the host may fork at any moment: a child waits for ever for a module that another thread was importing.
    """

    def __init__(self, router: Router) -> None:
        self.steps: Sequence[Callable[[], object]] = ()
        self._router = router
        self._lock = new_lock()
        self.begin_in_child()
        renew_in_child(self)

    def begin_in_child(self) -> None:
        """A child has a first call of its own."""
        self._begun = False

    def decide(self, call: Call) -> Decision:
        """As the router decides."""
        if not self._begun:
            self.begin()
        return self._router.decide(call)

    def begin(self) -> None:
        """Begin, unless this process has: outside of the caller's context. A step that fails is reported."""
        with self._lock:
            begun, self._begun = self._begun, True
        for step in () if begun else self.steps:
            try:
                Context().run(step)
            except LoopUnavailableError as error:
                _logger.warning("what is done in the background did not begin: %s", error)
            except Exception:  # the call must go on
                _logger.exception("what is done in the background did not begin")


@contextmanager
def comparing(
    settings: ShimSettings,
    migrations: Mapping[str, Migration],
    extensions: Sequence[Extension],
    *,
    router: Router,
    observer: Observer,
) -> Iterator[Runtime]:
    """Put the migrations in place for comparisons on demand; see `shim.Application.comparing`."""
    runtime = new_runtime(settings, router=router, observers=[observer])
    with ExitStack() as opened:
        put_in_place(opened, runtime, migrations, extensions, http=None)
        yield runtime


def new_runtime(settings: ShimSettings, *, router: Router, observers: Sequence[Observer]) -> Runtime:
    """What migrated calls run on, with the configured bounds; nothing uses it before `put_in_place`."""
    return Runtime(
        router=router,
        observers=observers,
        shadow_limits=ShadowLimits(
            waiting=settings.shadow_queue,
            waiting_bytes=settings.shadow_queue_bytes,
            hourly_bytes=settings.shadow_hourly_bytes,
            seconds=settings.shadow_timeout,
            yield_seconds=settings.shadow_patience,
            overlap_share=settings.shadow_meets,
            noise_share=settings.shadow_noise_share,
        ),
        drain_seconds=settings.drain_timeout,
        new_loop=fastest_loop,
    )


def fastest_loop() -> asyncio.AbstractEventLoop:
    """An event loop: uvloop's where that is installed (extra `fast`), else the standard library's."""
    try:
        with unforked():  # a child would wait for the rest of the import for ever
            import uvloop  # noqa: PLC0415  # optional
    except ImportError:
        return asyncio.new_event_loop()
    global _uses_libuv  # noqa: PLW0603  # of the process, and of its children
    _uses_libuv = True
    return uvloop.new_event_loop()


_uses_libuv = False


def _end_libuv_in_order() -> None:
    """Have libuv begin its threads again in a child that ends: else it waits for those of the parent, and crashes."""
    if _uses_libuv:
        numbers = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
        with closing(fastest_loop()) as loop:
            loop.run_until_complete(loop.getnameinfo(("127.0.0.1", 0), numbers))


os.register_at_fork(after_in_child=partial(atexit.register, _end_libuv_in_order))


def recall_noise(runtime: Runtime, ledger: Ledger, names: set[str]) -> None:
    """Load what earlier processes have learned about noise, so that it need not be learned again."""
    for name in sorted(names):
        try:
            for function, sample in ledger.noise_samples(name):
                runtime.shadows.noise.learn(name, function, sample)
        except StoreError as error:
            _logger.warning("%s; what was learned about noise is learned again", error)


def put_in_place(
    opened: ExitStack,
    runtime: Runtime,
    migrations: Mapping[str, Migration],
    extensions: Sequence[Extension],
    *,
    http: HttpObserver | None,
) -> None:
    """Install the migrations, to be run by `runtime`, and what notes their requests; `opened` takes them out."""
    for loop in (runtime.loop, runtime.shadows.loop):
        for extension in extensions:
            if extension.loop_closing is not None:
                loop.on_close(extension.loop_closing)
    part = _Part(runtime=runtime, http=http)
    _undo(opened, "what the process has once", lambda: _SHARED.leave(part))
    _SHARED.enter(part)
    for target, migration in migrations.items():
        shim = shim_at(target)
        before = (shim.migration, shim.runtime) if shim is not None and shim.installed else None
        install(target, migration, runtime=runtime)
        _undo(opened, target, partial(_take_out, target, runtime, before))
    _undo(opened, "calls in flight", runtime.close)


def _take_out(target: str, runtime: Runtime, before: tuple[Migration, Runtime] | None) -> None:
    """Take out what this runtime installed there, and let another application's stand that stood there before."""
    shim = shim_at(target)
    if shim is None or not shim.installed or shim.runtime is not runtime:
        return  # another has been put in its place, or the function itself: neither is ours
    uninstall(target)
    if before is not None and not before[1].loop.closed:
        install(target, before[0], runtime=before[1])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Part:
    """What an application has that a process has only once."""

    runtime: Runtime
    http: HttpObserver | None


class _Shared:
    """What a process has once: the runtime of decorated functions, the observer of its HTTP requests, their recording.

    It is that of the application that has run for the longest; the next one inherits it.
    """

    def __init__(self) -> None:
        self._parts: list[_Part] = []
        self._lock = new_lock()

    def enter(self, part: _Part) -> None:
        """An application begins."""
        with self._lock:
            self._parts.append(part)
            install_httpx_tap()
            if self._parts == [part]:
                self._lead(part)

    def leave(self, part: _Part) -> None:
        """An application ends."""
        with self._lock:
            led = self._parts[:1] == [part]
            self._parts.remove(part)
            if not self._parts:
                watch(None)
                remove_httpx_tap()
            elif led:
                self._lead(self._parts[0])

    @staticmethod
    def _lead(part: _Part) -> None:
        use_runtime(part.runtime)
        watch(part.http)


_SHARED = _Shared()


def _undo(stack: ExitStack, what: str, step: Callable[[], object]) -> None:
    """Have the stack take this step when it ends, whatever the others do; one that fails is reported."""

    def contained() -> None:
        try:
            step()
        except Exception:  # the end of a process must go on
            _logger.exception("%s did not end as it should", what)

    stack.callback(contained)


def _in_force(settings: ShimSettings, hook: Callable[[], object]) -> Callable[[], object]:
    def run() -> None:
        with use_settings(settings):
            hook()

    return run


def _all_checks(settings: ShimSettings, extensions: Sequence[Extension]) -> Callable[[], object]:
    checks = [_in_force(settings, extension.check_state) for extension in extensions]
    return lambda: [check() for check in checks]


def _all_made(extensions: Sequence[Extension]) -> Callable[[Operation], Sequence[Mapping[str, str]]] | None:
    hooks = [extension.made for extension in extensions if extension.made is not None]
    return (lambda operation: [thing for made in hooks for thing in made(operation)]) if hooks else None


def _sources(guard: Guard, extensions: Sequence[Extension]) -> Sources:
    """What metrics are collected from: the guard, and the application's own figures."""
    gauges = [gauge for extension in extensions for gauge in extension.gauges()]
    labels = [label for extension in extensions for label in extension.labels]
    return Sources(guard=guard.figures, gauges=tuple(gauges), labels=tuple(labels))


def _watch_loop(runtime: Runtime, observer: Telemetry, metrics: ProcessMetrics) -> None:
    """Measure how late the background loop is, for telemetry and for this machine's record."""

    def delayed(seconds: float) -> None:
        observer.loop_delayed(seconds)
        metrics.loop_delayed(seconds)

    runtime.loop.on_start(lambda: start_loop_watch(delayed))
