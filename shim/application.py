"""The composition root: the only place where flags, observability and the migrations are wired to the monolith.

The monolith calls `start()` once, when a process begins, and `stop()` when it ends (or uses `running()`); nothing else
of it changes. If it did so in the main thread, SIGTERM ends the process once uploads under way have ended, see
`shim.process`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TextIO

from flags import SHADOW_SUFFIX, Flag, FlagAdmin, FlagError, FlagNotFoundError, RouterStatus, UnleashRouter
from migration import Ledger, Migration, Observer, Router, Runtime
from migration.guard import Guard
from observability import (
    Gauge,
    HttpTelemetry,
    ObservabilityError,
    RecentSpan,
    Sources,
    Telemetry,
    TelemetryHandle,
    setup,
    start_loop_watch,
)
from shim.http.recording import watch
from shim.installing import new_runtime, put_in_place, recall_noise, take_out
from shim.process import SigtermDrain, make_private_folder
from shim.process_metrics import ProcessMetrics, SpanSample
from shim.wiring import (
    ProcessMemory,
    decision_now,
    flag_admin,
    flag_switch,
    has_no_flags_yet,
    open_guard,
    open_guard_store,
    open_ledger,
    open_rollout,
    open_router,
)
from tools.engine.gauges import PROVIDER, THROTTLE, throttle_values
from tools.journal import get_journal
from tools.migrations import MIGRATIONS, migrations_with
from tools.recovery import recover_in_background
from tools.settings import Settings, get_settings
from tools.shadowing import clean_in_background

if TYPE_CHECKING:
    from observability.testing import Capture

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
    "flag_switch",
    "has_no_flags_yet",
    "open_guard_store",
    "open_ledger",
    "open_rollout",
    "open_router",
    "running",
    "start",
]

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
    metrics: ProcessMetrics
    sigterm: SigtermDrain

    def stop(self) -> None:
        """Finish what is under way, take the migrations out, send the last telemetry. Bounded, never raises."""
        self.sigterm.remove()
        take_out(self.runtime)
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
        self.metrics.close()
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
    guard = open_guard(settings, router)
    telemetry, metrics = _instruments(settings, guard, console=console, capture=capture)
    ledger = open_ledger(settings)
    observer = Telemetry(telemetry)
    runtime = new_runtime(settings, router=guard, observers=[observer, ledger, guard, metrics, *observers])
    recall_noise(runtime, ledger)
    guard.tell(runtime.observers.noticed)
    _watch_loop(runtime, observer, metrics)
    watch(HttpTelemetry(telemetry))
    put_in_place(runtime, migrations_with(settings.shadow_mode) if migrations is None else migrations)
    _finish_earlier_work(runtime, settings)
    installation = Installation(
        settings=settings,
        router=router,
        runtime=runtime,
        telemetry=telemetry,
        ledger=ledger,
        guard=guard,
        metrics=metrics,
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
    runtime = new_runtime(settings, router=router, observers=[observer])
    put_in_place(runtime, MIGRATIONS)
    try:
        yield runtime
    finally:
        take_out(runtime)


def _instruments(
    settings: Settings, guard: Guard, *, console: TextIO | None, capture: Capture | None
) -> tuple[TelemetryHandle, ProcessMetrics]:
    """OpenTelemetry, and what this machine keeps of it; each shows figures that the other has."""
    metrics = ProcessMetrics(
        settings.process_metrics_file,
        instance=settings.shim_instance,
        memory=ProcessMemory(),
        pool=lambda: telemetry.pool,
    )
    telemetry = setup(
        prometheus_port=settings.shim_prometheus_port,
        console=console,
        capture=capture,
        keep_spans=lambda spans: metrics.keep_spans(map(_span, spans)),
        sources=Sources(guard=guard.figures, gauges=_upload_gauges(), labels=(PROVIDER,)),
    )
    return telemetry, metrics


def _upload_gauges() -> tuple[Gauge, ...]:
    """The throttle of the uploads, by provider."""
    return tuple(
        Gauge(name=name, unit="{request}", description=description, observe=partial(throttle_values, measure))
        for name, (description, measure) in THROTTLE.items()
    )


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


def _watch_loop(runtime: Runtime, observer: Telemetry, metrics: ProcessMetrics) -> None:
    """Measure how late the background loop is, for telemetry and for this machine's record."""

    def delayed(seconds: float) -> None:
        observer.loop_delayed(seconds)
        metrics.loop_delayed(seconds)

    runtime.loop.on_start(lambda: start_loop_watch(delayed))


def _finish_earlier_work(runtime: Runtime, settings: Settings) -> None:
    """In the background, undo the live shadows and recover the uploads that earlier processes left open."""
    if settings.undo_file.exists():
        runtime.shadows.loop.submit(lambda: clean_in_background(settings))
    if settings.journal_file.exists() or settings.supabase_url is not None:
        runtime.shadows.loop.submit(lambda: recover_in_background(settings))
