"""What is migrated, and how the start of the program puts it in place. The rest of the monolith knows nothing of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import aiohttp

from flags import UnleashRouter
from migration import Migration, ReadOnly, Runtime, install, uninstall, use_runtime
from migration.store import Ledger
from observability import Telemetry, setup

NEW_INVOICES = Migration(
    name="new-invoices",
    candidate="billing.invoices_v2:render_async",
    falls_back_on=(aiohttp.ClientConnectorError,),  # the service was not reached: nothing was asked
    replay=ReadOnly(),
)

MIGRATIONS: Mapping[str, Migration] = {"billing.invoices:render": NEW_INVOICES}
"""What is migrated, by the function in front of which it is put."""


@contextmanager
def migrated(home: Path) -> Iterator[Runtime]:
    """Put the migrations in place while a program runs; flags and records are in `home`."""
    router = UnleashRouter.from_file(home / "flags.json")
    telemetry, ledger = setup(), Ledger(home / "shim.db")
    runtime = use_runtime(Runtime(router=router, observers=[Telemetry(telemetry), ledger]))
    for target, migration in MIGRATIONS.items():
        install(target, migration)
    try:
        yield runtime
    finally:
        runtime.close()
        for target in MIGRATIONS:
            uninstall(target)
        ledger.flush()
        router.close()
        telemetry.shutdown()
