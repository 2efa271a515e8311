"""What is migrated, and how the start of the program puts it in place. The rest of the monolith knows nothing of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from flags import UnleashRouter
from migration import Call, Migration, Runtime, Side, install, uninstall, use_runtime
from migration.store import Ledger
from observability import Telemetry, setup


@dataclass(slots=True, kw_only=True)
class Again:
    """The other side may simply run again with the same arguments: rendering asks, and changes nothing."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def refusal(self) -> str | None:
        """Every call can be run again."""
        return None

    def size(self) -> int:
        """It reads no files."""
        return 0

    def stale(self) -> bool:
        """What it is given cannot change."""
        return False

    @asynccontextmanager
    async def rehearse(self, side: Side) -> AsyncIterator[Again]:  # noqa: ARG002  # both sides are alike
        """Run a side with what the caller gave."""
        yield self

    def seen(self) -> tuple[()]:
        """Only results are compared."""
        return ()


class ReadOnly:
    """Says of a function that it has no effect."""

    @contextmanager
    def record(self, call: Call) -> Iterator[Again]:
        """Remember the arguments."""
        yield Again(args=call.args, kwargs=call.kwargs)


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
    telemetry, ledger = setup(), Ledger(home / "ledger.db")
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
