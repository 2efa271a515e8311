"""The composition root: the only place where flags, observability and the migrations are wired to the monolith.

The monolith calls `start()` once, when a process begins, and `stop()` when it ends (or uses `running()`); nothing else
of it changes. If it did so in the main thread, SIGTERM ends the process once uploads under way have ended, see
`tools.draining`.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from flags import SHADOW_SUFFIX, Flag, FlagAdmin, FlagError, FlagNotFoundError, RouterStatus, UnleashRouter
from migration import (
    BackgroundLoop,
    Ledger,
    LedgerError,
    Migration,
    Observer,
    Router,
    Runtime,
    ShadowLimits,
    install,
    uninstall,
    use_runtime,
)
from migration.guard import Guard
from observability import (
    HttpTelemetry,
    ObservabilityError,
    RecentSpan,
    Sources,
    Telemetry,
    TelemetryHandle,
    setup,
    start_loop_watch,
)
from tools.audit.made import things_made
from tools.draining import SigtermDrain
from tools.factories import decision_now, flag_admin, open_guard_store, open_ledger, open_rollout, open_router
from tools.guarding import FlagSwitch, ProcessMemory, policy_of
from tools.journal import get_journal
from tools.live import clean_in_background
from tools.migrations import MIGRATIONS, NAMES, migrations_with
from tools.private import make_private_folder
from tools.reconcile import recover_in_background
from tools.settings import Settings, get_settings
from tools.vitals import SpanSample, Vitals
from tools.wire.httpx_tap import install_httpx_tap, remove_httpx_tap
from tools.wire.watching import watch

if TYPE_CHECKING:
    from observability.testing import Capture
    from tools.engine.throttle import LaneStatus

# What the rest of the monolith may use of flags and observability, so that it need not know where it comes from.
__all__ = [
    "SHADOW_SUFFIX",
    "Flag",
    "FlagAdmin",
    "FlagError",
    "FlagNotFoundError",
    "Installation",
    "ObservabilityError",
    "RouterStatus",
    "UnleashRouter",
    "comparing",
    "decision_now",
    "flag_admin",
    "open_guard_store",
    "open_ledger",
    "open_rollout",
    "open_router",
    "running",
    "start",
]


_logger = logging.getLogger(__name__)

_JOURNAL_SECONDS = 2.0
"""How long the end waits until what came of the last uploads is written down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """What stands in one process while its migrations are routed."""

    settings: Settings
    router: UnleashRouter
    runtime: Runtime
    telemetry: TelemetryHandle
    ledger: Ledger
    guard: Guard
    vitals: Vitals
    sigterm: SigtermDrain

    def stop(self) -> None:
        """Finish what is under way, take the migrations out, send the last telemetry. Bounded, never raises."""
        self.sigterm.remove()
        _take_out(self.runtime)
        watch(None)
        self._close_the_rest()

    def drain(self) -> int:
        """Let no call begin, and wait `DRAIN_TIMEOUT` at most for those under way; how many have not ended then."""
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
        self._close_the_rest()

    def _close_the_rest(self) -> None:
        self.guard.close()
        self.ledger.flush()
        self.router.close()
        self.telemetry.shutdown()
        self.vitals.close()
        journal = get_journal(self.settings)
        journal.flush(_JOURNAL_SECONDS)
        journal.stop()


def start(
    settings: Settings | None = None,
    *,
    console: TextIO | None = None,
    capture: Capture | None = None,
    observers: Sequence[Observer] = (),
    migrations: Mapping[str, Migration] | None = None,
) -> Installation:
    """Put every migration in front of its legacy function.

    Args:
        settings: the configuration; that of the environment by default.
        console: where finished spans are printed as one line each.
        capture: keeps telemetry in memory, for tests.
        observers: who else watches the calls.
        migrations: what is installed where; what is declared by default.

    Raises:
        ConfigurationError: a variable has a value that cannot be used; nothing has been installed.
        observability.ObservabilityError: likewise for the `OTEL_*` variables and the Prometheus port.
    """
    settings = settings or get_settings()
    with suppress(OSError):  # whoever writes there says so
        make_private_folder(settings.shim_home)
    router = open_router(settings)
    guard = _guard(settings, router)
    vitals = Vitals(
        settings.vitals_file,
        instance=settings.shim_instance,
        memory=ProcessMemory(),
        pool=lambda: telemetry.pool,
    )
    telemetry = setup(
        prometheus_port=settings.shim_prometheus_port,
        console=console,
        capture=capture,
        keep_spans=lambda spans: vitals.keep_spans(map(_span, spans)),
        sources=Sources(guard=guard.figures, lanes=_lanes),
    )
    observer = Telemetry(telemetry)
    ledger = open_ledger(settings)
    runtime = Runtime(
        router=guard,
        observers=[observer, ledger, guard, vitals, *observers],
        shadow_limits=_shadow_limits(settings),
        drain_seconds=settings.drain_timeout,
        new_loop=fastest_loop,
    )
    _recall_noise(runtime, ledger)
    guard.tell(runtime.observers.noticed)
    runtime.loop.on_start(lambda: start_loop_watch(_both(observer.loop_delayed, vitals.loop_delayed)))
    watch(HttpTelemetry(telemetry))
    _put_in_place(runtime, migrations_with(settings.shadow_mode) if migrations is None else migrations)
    if settings.undo_file.exists():
        runtime.shadows.loop.submit(lambda: clean_in_background(settings))
    if settings.journal_file.exists() or settings.supabase_url is not None:
        runtime.shadows.loop.submit(lambda: recover_in_background(settings))
    installation = Installation(
        settings=settings,
        router=router,
        runtime=runtime,
        telemetry=telemetry,
        ledger=ledger,
        guard=guard,
        vitals=vitals,
        sigterm=SigtermDrain(),
    )
    installation.sigterm.install(installation)
    return installation


@contextmanager
def running(
    settings: Settings | None = None,
    *,
    console: TextIO | None = None,
    capture: Capture | None = None,
    observers: Sequence[Observer] = (),
    migrations: Mapping[str, Migration] | None = None,
) -> Iterator[Installation]:
    """`start()` and, at the end, `stop()`."""
    installation = start(settings, console=console, capture=capture, observers=observers, migrations=migrations)
    try:
        yield installation
    finally:
        installation.stop()


@contextmanager
def comparing(settings: Settings, router: Router, observer: Observer) -> Iterator[Runtime]:
    """Put every migration in front of its legacy function for comparisons on demand, which are replayed.

    Nobody else decides or watches: no flags, no guard, no telemetry, no ledger.
    """
    runtime = Runtime(
        router=router,
        observers=[observer],
        shadow_limits=_shadow_limits(settings),
        drain_seconds=settings.drain_timeout,
        new_loop=fastest_loop,
    )
    _put_in_place(runtime, MIGRATIONS)
    try:
        yield runtime
    finally:
        _take_out(runtime)


def fastest_loop() -> asyncio.AbstractEventLoop:
    """An event loop: uvloop's where that is installed (extra `fast`), else the standard library's."""
    try:
        import uvloop  # noqa: PLC0415  # optional
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _shadow_limits(settings: Settings) -> ShadowLimits:
    return ShadowLimits(
        waiting=settings.shadow_queue,
        waiting_bytes=settings.shadow_queue_bytes,
        hourly_bytes=settings.shadow_hourly_bytes,
        seconds=settings.shadow_timeout,
        patience=settings.shadow_patience,
        meets=settings.shadow_meets,
        noise_share=settings.shadow_noise_share,
    )


def _put_in_place(runtime: Runtime, migrations: Mapping[str, Migration]) -> None:
    """Install the migrations, to be run by `runtime`, and what notes their requests."""
    for loop in (runtime.loop, runtime.shadows.loop):
        _close_pool_with(loop)
    install_httpx_tap()
    use_runtime(runtime)
    for target, migration in migrations.items():
        install(target, migration)


def _take_out(runtime: Runtime) -> None:
    """Finish what is under way, and leave the legacy functions as they were."""
    runtime.close()
    for target in MIGRATIONS:
        uninstall(target)
    remove_httpx_tap()


def _guard(settings: Settings, router: UnleashRouter) -> Guard:
    """The guard; on a server that it may not change, it can only make this machine's processes use legacy."""
    may_change = settings.unleash_url is None or settings.unleash_admin_token is not None
    return Guard(
        router,
        store=open_guard_store(settings),
        switch=FlagSwitch(lambda: flag_admin(settings), shadow_suffix=SHADOW_SUFFIX) if may_change else None,
        gauge=ProcessMemory(),
        policy=policy_of(settings.shim_guard_policy),
        hang_seconds=settings.shim_guard_hang_seconds,
        made=things_made,
    )


def _lanes() -> tuple[LaneStatus, ...]:
    """The lanes of the new implementation, if that was ever used here."""
    throttle = sys.modules.get("tools.engine.throttle")
    return () if throttle is None else throttle.snapshot()


def _both(first: Callable[[float], None], second: Callable[[float], None]) -> Callable[[float], None]:
    def tell(seconds: float) -> None:
        first(seconds)
        second(seconds)

    return tell


def _span(span: RecentSpan) -> SpanSample:
    return SpanSample(
        trace=span.trace,
        span=span.span,
        parent=span.parent,
        name=span.name,
        began=span.began,
        seconds=span.seconds,
        failed=span.failed,
        attributes=span.attributes,
        links=span.links,
    )


def _recall_noise(runtime: Runtime, ledger: Ledger) -> None:
    """Learn anew what an earlier process has learned about noise."""
    for name in NAMES:
        try:
            for function, sample in ledger.noise_samples(name):
                runtime.shadows.noise.learn(name, function, sample)
        except LedgerError as error:
            _logger.warning("%s; what was learned about noise is learned anew", error)


def _close_pool_with(loop: BackgroundLoop) -> None:
    """Close the loop's connection pool when the loop ends, if the new implementation was ever used there."""

    async def close_pool() -> None:
        pool = sys.modules.get("tools.engine.pool")
        if pool is not None:
            await pool.cleanup_http_session()

    loop.on_close(close_pool)
