"""Dashboard and alerts, asked of a real Prometheus that scraped a real run: uploads, faults, comparisons, a guard."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # its types are a package of their own

from flags import FileFlagAdmin
from migration import Migration, Side
from migration.model import ErrorKind, NoticeKind, Role, Verdict
from shim.faults import DrillFault, Faults, faulty
from tests.migration.helpers import eventually
from tests.support.prometheus import MakePrometheus, PrometheusServer
from tests.support.unleash_programs import REPOSITORY
from tools.application import app
from tools.load import Job, sample_of, steady_load
from tools.migrations import MIGRATIONS
from tools.sandbox import RunningSandbox
from tools.settings import Settings, use_settings
from tools.storage import get_storage

DASHBOARDS = REPOSITORY / "observability" / "dashboards"
RULES = DASHBOARDS / "alerts.yml"
SECONDS = 120.0
WRONG = {"async-upload-kimi": DrillFault.ERROR, "async-upload-glm": DrillFault.TIMEOUT}
"""What goes wrong with the new implementation in this run."""

FIRING = {
    "CandidateFailsMoreOften",
    "CandidateTimesOutMoreOften",
    "CandidateFailsInANewWay",
    "SidesDiffer",
    "MigrationFrozen",
    "EvidenceAgainstCandidate",
}
"""What such a run is to fire; the others are looked at name by name."""

ENOUGH = 120
"""Calls of each side that rates are compared from, and some more."""

METRICS = r"\b(?:upload|process|migration)[a-z0-9_:]*(?:_total|_bytes|_count|_tripped|_evidence|:[a-z0-9_]*15m)\b"
"""How the names of metrics end in the alerts; those of labels end otherwise."""

LABEL_VALUES = {
    "migration_error_kind": {kind.value for kind in ErrorKind},
    "migration_side": {each.value for each in Side},
    "migration_notice_kind": {kind.value for kind in NoticeKind},
    "migration_role": {role.value for role in Role},
    "migration_shadow_verdict": {verdict.value for verdict in Verdict},
    "migration_guard_action": {"freeze", "rollback"},
}


@pytest.fixture
def settings(sandbox: RunningSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """A guard that freezes and never rolls back, so that the faults go on, and a pool that has to be waited for."""
    monkeypatch.setattr(Settings, "upload_connections", property(lambda _: 1))
    settings = Settings(
        kimi_api_url=sandbox.urls["kimi"],
        glm_api_url=sandbox.urls["glm"],
        kimi_api_key=sandbox.key,
        glm_api_key=sandbox.key,
        shim_home=tmp_path / "state",
        shim_guard_policy="evidence:none,integrity:none,memory_cap:none",
        shim_prometheus_port=0,
        shadow_meets=1,
        shadow_patience=0.01,
    )
    admin = FileFlagAdmin(settings.flags_file)
    for name in WRONG:
        for flag in (name, f"{name}.shadow"):
            admin.ensure(flag)
            admin.set_percentage(flag, 50)
            admin.turn_on(flag)
    with use_settings(settings):
        yield settings


@pytest.fixture
def prometheus(settings: Settings, tmp_path: Path, make_prometheus: MakePrometheus) -> Iterator[PrometheusServer]:
    """A server that has seen enough of the run, which goes on."""
    migrations = {target: going_wrong(target, migration) for target, migration in MIGRATIONS.items()}
    jobs = []
    for number in range(16):
        path = tmp_path / f"report-{number}.txt"
        path.write_text(f"The ferry number {number} leaves at noon.\n")
        jobs.append(Job(sample=sample_of(path), provider="glm" if number % 2 else "kimi"))
    with app.running(settings, migrations=migrations) as installation:
        url = installation.telemetry.prometheus_url
        assert url is not None
        server = make_prometheus([int(url.split(":")[2].split("/")[0])], rules=RULES)
        with steady_load(jobs, get_storage(), threads=8):
            shares = f"min(migration:calls:increase15m) >= {ENOUGH}"
            assert eventually(lambda: bool(server.ask(shares)), SECONDS), server.ask("migration:calls:increase15m")
            assert eventually(lambda: bool(server.ask("count(migration:p95_seconds:15m) == 4")), SECONDS)
            assert eventually(lambda: not unanswered(server), SECONDS), unanswered(server)
            yield server


def going_wrong(target: str, migration: Migration) -> Migration:
    """The migration with a candidate that often fails, if it is one of the functions that are called here."""
    if "gateway" not in target:
        return migration
    faults = Faults(kind=WRONG[migration.name], severity=0.4)
    return replace(migration, candidate=faulty(str(migration.candidate), faults))


def questions() -> list[str]:
    """What the dashboard asks, with Grafana's variables filled in."""
    panels = json.loads((DASHBOARDS / "uploads.json").read_text())["panels"]
    asked = [target["expr"] for panel in panels for target in panel.get("targets", [])]
    return [each.replace("$migration", ".*").replace("$__rate_interval", "1m") for each in asked]


def has_figures(vector: list[Any]) -> bool:
    return any(math.isfinite(float(sample["value"][1])) for sample in vector)


def unanswered(server: PrometheusServer) -> list[str]:
    return [question for question in questions() if not has_figures(server.ask(question))]


def alerts() -> dict[str, str]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"] if "alert" in rule}


def recorded() -> dict[str, str]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["record"]: rule["expr"] for group in groups for rule in group["rules"] if "record" in rule}


def test_dashboard_and_alerts_have_data(prometheus: PrometheusServer) -> None:
    """Every question of the dashboard has figures, every recorded figure is there, and faults fire alerts."""
    expressions = alerts()
    assert len(questions()) > 25

    def wanting() -> list[str]:
        """What is not as it should be; on a busy machine a scrape may fail, and all figures are gone for a moment."""
        silent = [name for name in sorted(FIRING) if not has_figures(prometheus.ask(expressions[name]))]
        false = [name for name in sorted(expressions.keys() - FIRING) if prometheus.ask(expressions[name])]
        unrecorded = [name for name in recorded() if not has_figures(prometheus.ask(name))]
        unknown = [name for each in expressions.values() for name in unknown_names(each, prometheus)]
        return [*unanswered(prometheus), *silent, *false, *unrecorded, *unknown]

    assert eventually(lambda: not wanting(), SECONDS), wanting()


def unknown_names(expression: str, server: PrometheusServer) -> list[str]:
    """The metrics, labels and values of an alert that the run has not shown, and that nothing could ever show."""
    unknown = []
    for metric, conditions in re.findall(rf"({METRICS})(?:\{{([^}}]*)\}})?", expression):
        if not server.ask(metric):
            unknown.append(metric)
        for name, values in re.findall(r'([a-z_]+)(?:=|!=|=~|!~)"([^"]*)"', conditions):
            if not server.ask(f'{metric}{{{name}!=""}}'):
                unknown.append(f"{metric}.{name}")
            unknown += [value for value in values.split("|") if value and value not in LABEL_VALUES[name]]
    return unknown
