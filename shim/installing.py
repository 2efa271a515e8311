"""Puts the migrations in front of the legacy functions, with what they run on, and takes them out again."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Mapping, Sequence

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
from shim.http.httpx_tap import install_httpx_tap, remove_httpx_tap
from tools.migrations import MIGRATIONS, NAMES
from tools.settings import Settings

_logger = logging.getLogger(__name__)


def new_runtime(settings: Settings, *, router: Router, observers: Sequence[Observer]) -> Runtime:
    """What migrated calls run on, with the configured bounds; nothing uses it before `put_in_place`."""
    return Runtime(
        router=router,
        observers=observers,
        shadow_limits=ShadowLimits(
            waiting=settings.shadow_queue,
            waiting_bytes=settings.shadow_queue_bytes,
            hourly_bytes=settings.shadow_hourly_bytes,
            seconds=settings.shadow_timeout,
            patience=settings.shadow_patience,
            meets=settings.shadow_meets,
            noise_share=settings.shadow_noise_share,
        ),
        drain_seconds=settings.drain_timeout,
        new_loop=fastest_loop,
    )


def fastest_loop() -> asyncio.AbstractEventLoop:
    """An event loop: uvloop's where that is installed (extra `fast`), else the standard library's."""
    try:
        import uvloop  # noqa: PLC0415  # optional
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def put_in_place(runtime: Runtime, migrations: Mapping[str, Migration]) -> None:
    """Install the migrations, to be run by `runtime`, and what notes their requests."""
    for loop in (runtime.loop, runtime.shadows.loop):
        _close_pool_with(loop)
    install_httpx_tap()
    use_runtime(runtime)
    for target, migration in migrations.items():
        install(target, migration)


def take_out(runtime: Runtime) -> None:
    """Finish what is under way, and leave the legacy functions as they were."""
    runtime.close()
    for target in MIGRATIONS:
        uninstall(target)
    remove_httpx_tap()


def recall_noise(runtime: Runtime, ledger: Ledger) -> None:
    """Load what earlier processes have learned about noise, so that it need not be learned again."""
    for name in NAMES:
        try:
            for function, sample in ledger.noise_samples(name):
                runtime.shadows.noise.learn(name, function, sample)
        except LedgerError as error:
            _logger.warning("%s; what was learned about noise is learned anew", error)


def _close_pool_with(loop: BackgroundLoop) -> None:
    """Close the loop's connection pool when the loop ends, if the new implementation was ever used there."""

    async def close_pool() -> None:
        pool = sys.modules.get("tools.transport.connections")
        if pool is not None:
            await pool.cleanup_http_session()

    loop.on_close(close_pool)
