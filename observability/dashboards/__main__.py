"""Makes the dashboard for Grafana: `python -m observability.dashboards`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from grafana_foundation_sdk.builders import dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.builders.common import ReduceDataOptions
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DataSourceRef, VariableRefresh

from migration.guard import FREEZE_AT, ROLLBACK_AT
from observability.dashboards import promql
from observability.names import Attribute, Metric

FILE: Final = Path(__file__).with_name("uploads.json")

_SOURCE: Final = DataSourceRef(type_val="prometheus", uid="${source}")
_SIDE: Final = f"{{{{{promql.label(Attribute.MIGRATION)}}}}} {{{{{promql.label(Attribute.SIDE)}}}}}"
_NAME: Final = f"{{{{{promql.label(Attribute.MIGRATION)}}}}}"
_WIDE, _NARROW, _HEIGHT = 12, 6, 8

Series = tuple[str, str]
"""A question, and what its lines are called."""


def as_json() -> str:
    """The dashboard as the file holds it."""
    return JSONEncoder(sort_keys=True, indent=2).encode(_dashboard().build()) + "\n"


def _dashboard() -> dashboard.Dashboard:
    board = (
        dashboard.Dashboard("Migrated uploads")
        .uid("migration-shim")
        .tags(["migration-shim"])
        .readonly()
        .refresh("10s")
        .time("now-1h", "now")
        .with_variable(dashboard.DatasourceVariable("source").label("Prometheus").type("prometheus"))
        .with_variable(_migrations())
    )
    for title, panels in _rows():
        board = board.with_row(dashboard.Row(title))
        for panel in panels:
            board = board.with_panel(panel)
    return board


def _migrations() -> dashboard.QueryVariable:
    question = f"label_values(migration_decisions_total, {promql.label(Attribute.MIGRATION)})"
    return (
        dashboard.QueryVariable("migration")
        .label("Migration")
        .datasource(_SOURCE)
        .query(question)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(True)
        .include_all(True)
        .all_value(".*")
    )


def _rows() -> list[tuple[str, list[timeseries.Panel | stat.Panel]]]:
    return [
        (
            "Where it stands",
            [
                _number("Rolled back", "none", (promql.TRIPPED, _NAME), "1: legacy serves every call."),
                _number("Share on the new path", "percentunit", (promql.CHOSEN, _NAME), "Of the calls, as chosen."),
                _number("Evidence against it", "none", (promql.EVIDENCE, _NAME), _EVIDENCE),
                _number("In flight", "none", (promql.ACTIVE, _SIDE), "Uploads that callers wait for."),
            ],
        ),
        (
            "Both sides",
            [
                _lines("Success", "percentunit", [(promql.SUCCESS, _SIDE)], "Share of the uploads that succeeded."),
                _lines("Uploads", "reqps", [(promql.CALLS, _SIDE)], "Uploads that were answered."),
                _lines("Median duration", "s", [(promql.latency(0.5), _SIDE)], "Of those that succeeded."),
                _lines("99th percentile", "s", [(promql.latency(0.99), _SIDE)], "Of those that succeeded."),
                _lines("Failures", "reqps", [(promql.FAILURES, f"{_SIDE} {_label(Attribute.ERROR_KIND)}")], "By kind."),
                _lines("Bytes", "Bps", [(promql.BYTES, _NAME)], "Of the files uploaded."),
            ],
        ),
        (
            "Rollout and guard",
            [
                _lines(
                    "Share on the new path",
                    "percentunit",
                    [(promql.CHOSEN, f"{_NAME}"), (promql.EXPECTED, f"{_NAME} by its flag")],
                    "As chosen, and as the flag wants it; they must lie on each other.",
                ),
                _lines("Evidence against the new path", "none", [(promql.EVIDENCE, _NAME)], _EVIDENCE),
                _lines("Decisions", "none", [(promql.DECIDED, f"{_NAME} {_RULE}")], "Of the guard, since its start."),
                _lines(
                    "Notices", "none", [(promql.NOTICES, f"{_NAME} {_label(Attribute.NOTICE)}")], "Since its start."
                ),
            ],
        ),
        (
            "Comparisons",
            [
                _lines(
                    "Verdicts", "cps", [(promql.VERDICTS, f"{_NAME} {_label(Attribute.VERDICT)}")], "On both sides."
                ),
                _lines(
                    "Fields that differ",
                    "none",
                    [(promql.DIFFERENCES, f"{_NAME} {_label(Attribute.DIFFERENT_FIELD)}")],
                    "Comparisons in which they do, since the start; the ten most frequent.",
                ),
            ],
        ),
        (
            "The machine",
            [
                _lines(
                    "Memory",
                    "bytes",
                    [(promql.MEMORY, "{{instance}}"), (promql.MEMORY_LIMIT, "{{instance}} at most")],
                    "Resident memory of each process.",
                ),
                _lines(
                    "Connections",
                    "none",
                    [(promql.POOL, "{{instance}}"), (promql.POOL_LIMIT, "{{instance}} at most")],
                    "Of the connection pool, in use.",
                ),
                _lines("Pool in use", "percentunit", [(promql.POOL_UTILIZATION, "{{instance}}")], "1: all are in use."),
                _lines(
                    "Requests to each provider",
                    "none",
                    [
                        (promql.THROTTLE, "{{upload_provider}}"),
                        (promql.THROTTLE_LIMIT, "{{upload_provider}} at most"),
                        (promql.THROTTLE_WAITING, "{{upload_provider}} waiting"),
                    ],
                    "In flight, the adaptive limit, and waiting.",
                ),
                _lines(
                    "Lateness of the event loop",
                    "s",
                    [(promql.of_histogram(Metric.EVENT_LOOP_DELAY, 0.99), "99th percentile")],
                    "How late it wakes a sleeper.",
                ),
                _lines(
                    "Troubled threads",
                    "none",
                    [(promql.THREADS, f"{_label(Attribute.THREAD_NAME)} {_label(Attribute.THREAD_PROBLEM)}")],
                    "Background threads that the system refused, or that died and began again.",
                ),
                _lines(
                    "Wait for a connection",
                    "s",
                    [(promql.of_histogram(Metric.POOL_WAIT, 0.99), "99th percentile")],
                    "When all connections of the pool are in use.",
                ),
                _lines(
                    "HTTP requests",
                    "s",
                    [(promql.of_histogram(Metric.HTTP_DURATION, 0.99), "99th percentile")],
                    "Of both sides, to the answer's head.",
                ),
            ],
        ),
    ]


def _label(attribute: Attribute) -> str:
    return f"{{{{{promql.label(attribute)}}}}}"


_EVIDENCE: Final = f"1 is none; {FREEZE_AT:g} freezes the rollout, {ROLLBACK_AT:g} rolls back."
_RULE: Final = f"{_label(Attribute.GUARD_ACTION)} by {_label(Attribute.GUARD_RULE)}"


def _lines(title: str, unit: str, series: list[Series], description: str) -> timeseries.Panel:
    panel = timeseries.Panel().title(title).description(description).unit(unit).datasource(_SOURCE)
    panel = panel.span(_WIDE).height(_HEIGHT).min(0).fill_opacity(10)
    for question, name in series:
        panel = panel.with_target(prometheus.Dataquery().expr(question).legend_format(name))
    return panel


def _number(title: str, unit: str, series: Series, description: str) -> stat.Panel:
    question, name = series
    panel = stat.Panel().title(title).description(description).unit(unit).datasource(_SOURCE)
    panel = panel.span(_NARROW).height(_HEIGHT // 2)
    return panel.reduce_options(ReduceDataOptions().calcs(["lastNotNull"])).with_target(
        prometheus.Dataquery().expr(question).legend_format(name)
    )


if __name__ == "__main__":
    FILE.write_text(as_json(), encoding="utf-8")
