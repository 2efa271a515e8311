"""Where the console's figures come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from migration import Ledger, ShadowMode
from migration.guard import RolloutStore
from shim.application import UnleashRouter, open_guard_store, open_ledger, open_router
from shim.process_metrics import VitalsReader
from tools.migrations import MIGRATIONS
from tools.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What the processes of this machine have written down, and the flags as they are.

    Attributes:
        settings: the configuration.
        router: knows the flags.
        ledger: calls and comparisons.
        store: what the guard and rollouts have decided.
        vitals: single calls, memory, pool, loop delay, spans.
    """

    settings: Settings
    router: UnleashRouter
    ledger: Ledger
    store: RolloutStore
    vitals: VitalsReader

    @classmethod
    def opened(cls, settings: Settings) -> Self:
        """Those that the configuration names.

        Raises:
            ConfigurationError: a server is configured without `UNLEASH_API_TOKEN`.
        """
        return cls(
            settings=settings,
            router=open_router(settings),
            ledger=open_ledger(settings),
            store=RolloutStore(open_guard_store(settings).path),
            vitals=VitalsReader(settings.vitals_file),
        )

    def mode(self, migration: str) -> ShadowMode:
        """How the other side of a compared call runs."""
        declared = next(each for each in MIGRATIONS.values() if each.name == migration)
        if declared.replay is None and declared.live is None:
            return ShadowMode.NONE
        return ShadowMode(self.settings.shadow_mode)

    def close(self) -> None:
        """Stop following the flags."""
        self.router.close()
