"""Everything that the page shows at one moment, as plain data. Times are seconds since the epoch, sizes bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from flags import UnleashRouter
from migration import Migration, MigrationError, ShadowMode, Side
from migration.guard import FlagSwitch
from migration.model import stage_of
from migration.rollout import Rollout, RolloutStore
from migration.store import LedgerReader
from shim.application import Application, ConsoleSection
from shim.console.figures import (
    BUCKETS,
    Document,
    EvidenceCurves,
    comparison_row,
    decision_row,
    process_lines,
    side_figures,
    timeline,
    trace_rows,
)
from shim.errors import ShimError
from shim.process_metrics import ProcessMetricsReader
from shim.settings import ShimSettings, use_settings
from shim.wiring import decision_now, flag_switch, has_no_flags_yet, open_guard_store, open_router

ROWS = 50
"""Decisions, comparisons and traces that are listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleSources:
    """What the processes of this machine have written down, and the flags as they are.

    Attributes:
        settings: the configuration.
        migrations: what is declared, by target.
        names: the migrations that are shown: those declared, and those that only the state on disk knows.
        sections: views that the application adds.
        router: knows the flags.
        switch: changes the flags; None where that is not allowed.
        ledger: calls and comparisons.
        store: what the guard and rollouts have decided.
        metrics: single calls, memory, gauges, loop delay, spans.
    """

    settings: ShimSettings
    migrations: Mapping[str, Migration]
    names: Callable[[], Sequence[str]]
    sections: Sequence[ConsoleSection]
    router: UnleashRouter
    switch: FlagSwitch | None
    ledger: LedgerReader
    store: RolloutStore
    metrics: ProcessMetricsReader

    @classmethod
    def of(cls, application: Application, settings: ShimSettings) -> Self:
        """Those of an application, which `settings` say where to find.

        Raises:
            ConfigurationError: a server is configured without `UNLEASH_API_TOKEN`.
            DeclarationsError: the declarations cannot be found.
        """
        return cls(
            settings=settings,
            migrations=application.migrations(settings),
            names=lambda: application.names(settings),
            sections=[section for extension in application.extensions for section in extension.views()],
            router=open_router(settings),
            switch=flag_switch(settings),
            ledger=LedgerReader(settings.shim_db),
            store=RolloutStore(open_guard_store(settings).path),
            metrics=ProcessMetricsReader(settings.shim_db),
        )

    def mode(self, migration: str) -> ShadowMode:
        """How the shadow of a compared call runs; none where that is not declared."""
        declared = next((each for each in self.migrations.values() if each.name == migration), None)
        if declared is None or (declared.replay is None and declared.live is None):
            return ShadowMode.NONE
        return declared.shadow_mode or ShadowMode.REPLAY

    def close(self) -> None:
        """Stop following the flags."""
        self.router.close()


class States:
    """Makes the documents.

    Args:
        sources: where the figures come from.
        now: the clock, in seconds since the epoch.
    """

    def __init__(self, sources: ConsoleSources, *, now: Callable[[], float]) -> None:
        self._sources = sources
        self._now = now
        self._curves = EvidenceCurves(sources.store)

    def state(self, migration: str, window: float) -> Document:
        """One migration over the last `window` seconds, and what all migrations share.

        What cannot be read is left out, and its place says why (`problems`).
        """
        at = self._now()
        problems: list[str] = []

        def part(read: Callable[[], object]) -> object:
            try:
                return read()
            except (MigrationError, ShimError) as error:
                problems.append(str(error))
                return None

        names = self._sources.names()
        if not names:
            problems.append("no migration is declared, and none is known from earlier")
        return {
            "at": at,
            "window": window,
            "step": window / BUCKETS,
            "migrations": names,
            "migration": migration,
            "mode": self._sources.mode(migration).value,
            "flags": self._flags(),
            "share": self._share(migration),
            "shares": part(lambda: self._shares(migration, at - window)),
            "guard": part(lambda: self._guard(migration)),
            "rollout": part(lambda: _rollout(self._sources.store.rollout(migration))),
            "sides": part(lambda: self._sides(migration, at, window)),
            "totals": part(lambda: self._totals(migration)),
            "processes": part(lambda: process_lines(self._sources.metrics, start=at - window, window=window)),
            "decisions": part(lambda: self._decisions(migration)),
            "comparisons": part(lambda: self._comparisons(migration)),
            "traces": part(lambda: trace_rows(self._sources.metrics, migration, limit=ROWS)),
            "sections": [self._section(each, problems) for each in self._sources.sections],
            "problems": problems,
        }

    def _flags(self) -> Document:
        settings, status = self._sources.settings, self._sources.router.status()
        return {
            "source": status.source,
            "location": settings.unleash_url or _shown(settings.flags_file, settings.shim_home),
            "healthy": status.healthy,
            "missing": has_no_flags_yet(settings),
            "age": status.last_success_age,
            "error": status.error,
        }

    def _share(self, migration: str) -> Document:
        """What the flags would decide now. What is rolled back legacy serves all the same."""
        decision = decision_now(self._sources.router, migration)
        stage = stage_of(decision.probability, decision.shadow_probability, self._sources.mode(migration))
        return {
            "percent": decision.probability * 100,
            "shadow_percent": decision.shadow_probability * 100,
            "stage": stage.value,
            "reason": decision.reason.value,
            "error": decision.error,
        }

    def _shares(self, migration: str, since: float) -> Sequence[Document]:
        mode = self._sources.mode(migration)
        return [
            asdict(share) | {"stage": stage_of(share.percent / 100, share.shadow_percent / 100, mode).value}
            for share in self._sources.metrics.shares(migration, since=since)
        ]

    def _guard(self, migration: str) -> Document:
        store = self._sources.store
        status = store.status(migration)
        record = None if status.held_by is None else store.record(status.held_by)
        return {
            "tripped": status.tripped_by is not None,
            "frozen": status.frozen_by is not None,
            "carried_out": status.carried_out,
            "record": None if record is None else decision_row(record),
            "evidence": self._curves.curve(migration, epoch=status.epoch),
        }

    def _sides(self, migration: str, at: float, window: float) -> Document:
        calls = self._sources.metrics.calls(migration, since=at - window)
        by_side = {side: [call for call in calls if call.side is side] for side in Side}
        return {
            "figures": {side.value: side_figures(own) for side, own in by_side.items()},
            "timeline": timeline(calls, start=at - window, window=window),
        }

    def _totals(self, migration: str) -> Document:
        recorded, losses = self._sources.ledger.status(migration), self._sources.ledger.losses()
        return {
            "sides": {side.value: asdict(recorded.sides[side]) for side in Side},
            "notices": recorded.notices,
            "last_decision": recorded.decision,
            "lost": None if losses is None else asdict(losses),
        }

    def _decisions(self, migration: str) -> Sequence[Document]:
        return [decision_row(record) for record in self._sources.store.records(migration, limit=ROWS)]

    def _comparisons(self, migration: str) -> Document:
        ledger = self._sources.ledger
        return {
            "verdicts": ledger.verdicts(migration),
            "rows": [comparison_row(found) for found in ledger.comparisons(migration, limit=ROWS)],
        }

    def _section(self, section: ConsoleSection, problems: list[str]) -> Document:
        """A section as it is now; without contents if it cannot be read."""
        shown = {"name": section.name, "title": section.title}
        try:
            with use_settings(self._sources.settings):
                return {**shown, "content": asdict(section.read())}
        except Exception as error:  # noqa: BLE001  # the application's own code; the page says what went wrong
            problems.append(f"{section.name}: {error}")
            return {**shown, "content": None}


def _shown(path: Path, home: Path) -> str:
    return f"SHIM_HOME/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)


def _rollout(rollout: Rollout | None) -> Document | None:
    if rollout is None:
        return None
    return {
        "phase": rollout.phase.value,
        "stage": rollout.stage + 1,
        "stages": [str(stage) for stage in rollout.plan.stages],
        "began": rollout.began,
        "entered": rollout.entered,
        "soak": rollout.plan.soak,
        "paused": rollout.paused,
        "because": rollout.because,
    }
