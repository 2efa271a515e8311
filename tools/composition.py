"""The composition root: the only place where flags, observability and the migrations are wired to the monolith.

The monolith calls `start()` once, when a process begins, and `stop()` when it ends (or uses `running()`); nothing else
of it changes.
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from flags import (
    SHADOW_SUFFIX,
    FileFlagAdmin,
    Flag,
    FlagAdmin,
    FlagError,
    FlagNotFoundError,
    RouterStatus,
    UnleashFlagAdmin,
    UnleashRouter,
)
from migration import (
    BackgroundLoop,
    Call,
    Decision,
    Ledger,
    Observer,
    Runtime,
    calling_site,
    install,
    uninstall,
    use_runtime,
)
from observability import HttpTelemetry, ObservabilityError, Telemetry, TelemetryHandle, setup, start_loop_watch
from tools.errors import ConfigurationError
from tools.migrations import MIGRATIONS
from tools.settings import Settings, get_settings
from tools.wire.httpx_tap import install_httpx_tap, remove_httpx_tap
from tools.wire.watching import watch

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
    "decision_now",
    "flag_admin",
    "open_ledger",
    "open_router",
    "running",
    "start",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """What stands in one process while its migrations are routed."""

    settings: Settings
    router: UnleashRouter
    runtime: Runtime
    telemetry: TelemetryHandle
    ledger: Ledger

    def stop(self) -> None:
        """Finish what is under way, take the migrations out, send the last telemetry. Bounded, never raises."""
        self.runtime.close()
        for target in MIGRATIONS:
            uninstall(target)
        remove_httpx_tap()
        watch(None)
        self.ledger.flush()
        self.router.close()
        self.telemetry.shutdown()


def start(
    settings: Settings | None = None,
    *,
    console: TextIO | None = None,
    capture: Capture | None = None,
    observers: Sequence[Observer] = (),
) -> Installation:
    """Put every migration in front of its legacy function.

    Args:
        settings: the configuration; that of the environment by default.
        console: where finished spans are printed as one line each.
        capture: keeps telemetry in memory, for tests.
        observers: who else watches the calls.

    Raises:
        ConfigurationError: a variable has a value that cannot be used; nothing has been installed.
        observability.ObservabilityError: likewise for the `OTEL_*` variables and the Prometheus port.
    """
    settings = settings or get_settings()
    router = open_router(settings)
    telemetry = setup(prometheus_port=settings.shim_prometheus_port, console=console, capture=capture)
    observer = Telemetry(telemetry)
    ledger = open_ledger(settings)
    runtime = Runtime(
        router=router,
        observers=[observer, ledger, *observers],
        shadow_capacity=settings.shadow_queue,
        shadow_seconds=settings.shadow_timeout,
        drain_seconds=settings.drain_timeout,
    )
    runtime.loop.on_start(lambda: start_loop_watch(observer.loop_delayed))
    for loop in (runtime.loop, runtime.shadows.loop):
        _close_pool_with(loop)
    watch(HttpTelemetry(telemetry))
    install_httpx_tap()
    use_runtime(runtime)
    for target, migration in MIGRATIONS.items():
        install(target, migration)
    return Installation(settings=settings, router=router, runtime=runtime, telemetry=telemetry, ledger=ledger)


@contextmanager
def running(
    settings: Settings | None = None,
    *,
    console: TextIO | None = None,
    capture: Capture | None = None,
    observers: Sequence[Observer] = (),
) -> Iterator[Installation]:
    """`start()` and, at the end, `stop()`."""
    installation = start(settings, console=console, capture=capture, observers=observers)
    try:
        yield installation
    finally:
        installation.stop()


def open_ledger(settings: Settings) -> Ledger:
    """The record of calls and comparisons that all processes of this machine share."""
    return Ledger(settings.shim_home / "ledger.db")


def flag_admin(settings: Settings) -> FlagAdmin:
    """Whoever can change the flags: the Unleash server when one is configured, otherwise the flags file.

    Raises:
        ConfigurationError: a server is configured without `UNLEASH_ADMIN_TOKEN`.
    """
    if settings.unleash_url is None:
        return FileFlagAdmin(settings.flags_file)
    if settings.unleash_admin_token is None:
        raise ConfigurationError({"UNLEASH_ADMIN_TOKEN": "must be set to change flags on an Unleash server"})
    return UnleashFlagAdmin(
        settings.unleash_url,
        settings.unleash_admin_token.get_secret_value(),
        project=settings.unleash_project,
        environment=settings.unleash_environment,
    )


def open_router(settings: Settings) -> UnleashRouter:
    """Whoever decides: by the flags of the Unleash server when one is configured, otherwise by the flags file.

    Raises:
        ConfigurationError: a server is configured without `UNLEASH_API_TOKEN`.
    """
    if settings.unleash_url is None:
        return UnleashRouter.from_file(settings.flags_file, app_name="upload-shim")
    if settings.unleash_api_token is None:
        raise ConfigurationError({"UNLEASH_API_TOKEN": "must be set when UNLEASH_URL is"})
    return UnleashRouter.from_server(
        settings.unleash_url,
        settings.unleash_api_token.get_secret_value(),
        app_name="upload-shim",
        refresh_seconds=settings.unleash_refresh_seconds,
    )


def decision_now(router: UnleashRouter, migration: str) -> Decision:
    """What would be decided for a call made now; its probabilities are the shares in force."""
    call = Call(migration=migration, function=migration, unit=uuid.uuid4().hex, args=(), kwargs={}, site=calling_site())
    return router.decide(call)


def _close_pool_with(loop: BackgroundLoop) -> None:
    """Close the loop's connection pool when the loop ends, if the new implementation was ever used there."""

    async def close_pool() -> None:
        pool = sys.modules.get("tools.engine.pool")
        if pool is not None:
            await pool.cleanup_http_session()

    loop.on_close(close_pool)
