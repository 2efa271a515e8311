"""What is known of the migrations, as plain data: what the flags decide now, and what the ledger has recorded."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from flags import UnleashRouter
from migration import Side
from migration.model import StoreError
from migration.store import Ledger, SideTotals, Standing
from shim.application import Section
from shim.cli.finding import application
from shim.cli.guard_standing import GuardReport, guard_report
from shim.settings import get_settings
from shim.wiring import decision_now, has_no_flags_yet, open_guard_store


class SideReport(TypedDict):
    """The calls that one side served."""

    calls: int
    errors: dict[str, int]
    mean_seconds: float | None
    bytes: int


class DecisionReport(TypedDict):
    """A decision that was taken for a call."""

    serve: str
    reason: str
    error: str | None
    source: str
    probability: float
    age_seconds: float


class MigrationReport(TypedDict):
    """One migration. The percentages, the reason and the error are those of a call made now."""

    migration: str
    percentage: float
    shadow_percentage: float
    reason: str
    error: str | None
    sides: dict[str, SideReport]
    verdicts: dict[str, int]
    last_decision: DecisionReport | None
    notices: dict[str, int]
    guard: GuardReport


class FlagsReport(TypedDict):
    """How well the flags are known; `missing` if nobody has made any so far."""

    source: str
    location: str
    healthy: bool
    missing: bool
    age_seconds: float | None
    error: str | None


class LossesReport(TypedDict):
    """Records of calls and comparisons that could not be written, of all processes."""

    records: int
    age_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that `shim status` shows; `sections` is what the application says of itself."""

    flags: FlagsReport
    lost: LossesReport | None
    sections: Mapping[str, Section]
    migrations: Sequence[MigrationReport]

    def as_data(self) -> dict[str, object]:
        """As plain data."""
        sections = {name: section.data for name, section in self.sections.items()}
        return {"flags": self.flags, "lost": self.lost, **sections, "migrations": self.migrations}


def report(router: UnleashRouter, ledger: Ledger) -> Report:
    """All migrations at this moment. What a file that cannot be read holds is left out; the guard's report names it."""
    app = application()
    hooks = [extension.sections for extension in app.extensions if extension.sections is not None]
    return Report(
        flags=_flags(router),
        lost=_losses(ledger),
        sections={name: section for sections in hooks for name, section in sections().items()},
        migrations=[_migration(router, ledger, name) for name in app.names()],
    )


def _losses(ledger: Ledger) -> LossesReport | None:
    try:
        losses = ledger.losses()
    except StoreError:
        return None
    return None if losses is None else {"records": losses.records, "age_seconds": time.time() - losses.last_at}


def _flags(router: UnleashRouter) -> FlagsReport:
    settings, status = get_settings(), router.status()
    return {
        "source": status.source,
        "location": settings.unleash_url or str(settings.flags_file),
        "healthy": status.healthy,
        "missing": has_no_flags_yet(settings),
        "age_seconds": status.last_success_age,
        "error": status.error,
    }


def _migration(router: UnleashRouter, ledger: Ledger, name: str) -> MigrationReport:
    decision, standing = decision_now(router, name), _standing(ledger, name)
    return {
        "migration": name,
        "percentage": decision.probability * 100,
        "shadow_percentage": decision.shadow_probability * 100,
        "reason": decision.reason.value,
        "error": decision.error,
        "sides": {side.value: _side(standing.sides[side]) for side in Side},
        "verdicts": standing.verdicts,
        "last_decision": None if standing.decision is None else _last(standing.decision),
        "notices": standing.notices,
        "guard": guard_report(open_guard_store(get_settings()), name),
    }


def _standing(ledger: Ledger, name: str) -> Standing:
    try:
        return ledger.standing(name)
    except StoreError:
        return Standing(migration=name)


def _side(totals: SideTotals) -> SideReport:
    return {
        "calls": totals.calls,
        "errors": totals.errors,
        "mean_seconds": totals.mean_seconds,
        "bytes": totals.bytes,
    }


def _last(decided: dict[str, Any]) -> DecisionReport:
    return {
        "serve": decided["serve"],
        "reason": decided["reason"],
        "error": decided["error"],
        "source": decided["source"],
        "probability": decided["probability"],
        "age_seconds": time.time() - decided["at"],
    }
