"""The questions that the dashboard and the alerts ask of Prometheus, and the dashboard for Grafana."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from grafana_foundation_sdk.builders import dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.builders.common import ReduceDataOptions
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DataSourceRef, VariableRefresh

from migration import Side
from migration.guard import FREEZE_AT, ROLLBACK_AT
from migration.model import Role
from observability.names import Attribute, Metric

_SUFFIXES: Final = {
    Metric.OPERATION_DURATION: "_seconds",
    Metric.HTTP_DURATION: "_seconds",
    Metric.POOL_WAIT: "_seconds",
    Metric.EVENT_LOOP_DELAY: "_seconds",
    Metric.FILE_SIZE: "_bytes",
    Metric.PROCESS_MEMORY: "_bytes",
    Metric.GUARD_MEMORY_LIMIT: "_bytes",
    Metric.DECISIONS: "_total",
    Metric.DECISIONS_EXPECTED: "_total",
    Metric.GUARD_DECISIONS: "_total",
    Metric.NOTICES: "_total",
    Metric.SHADOW_COMPARISONS: "_total",
    Metric.SHADOW_DIFFERENCES: "_total",
    Metric.THREAD_PROBLEMS: "_total",
}
"""What the Prometheus exporter puts behind a name: the unit, and `_total` behind a counter."""

WINDOW: Final = "$__rate_interval"
"""Grafana puts a stretch of time here that fits the zoom."""

MIGRATION: Final = "$migration"
"""Grafana puts the chosen migrations here."""


def series(metric: Metric, part: str = "", **labels: str) -> str:
    """A metric of the chosen migrations, if it has that label; `labels` are further conditions.

    Args:
        metric: which one.
        part: of a histogram: `_bucket`, `_count` or `_sum`.
        labels: values by attribute, named as in `Attribute`; one that begins with `!` must not be.
    """
    conditions = [
        f'{label(Attribute[name])}{"!=" if value.startswith("!") else "="}"{value.removeprefix("!")}"'
        for name, value in labels.items()
    ]
    if metric not in _OF_THE_PROCESS:
        conditions.insert(0, f'{label(Attribute.MIGRATION)}=~"{MIGRATION}"')
    name = metric.value.replace(".", "_") + _SUFFIXES.get(metric, "") + part
    return f"{name}{{{', '.join(conditions)}}}" if conditions else name


_OF_THE_PROCESS: Final = frozenset(
    {
        Metric.EVENT_LOOP_DELAY,
        Metric.GUARD_MEMORY_LIMIT,
        Metric.HTTP_DURATION,
        Metric.POOL_LIMIT,
        Metric.POOL_USAGE,
        Metric.POOL_UTILIZATION,
        Metric.POOL_WAIT,
        Metric.PROCESS_MEMORY,
        Metric.THREAD_PROBLEMS,
    }
)
"""Metrics of no migration."""


def label(attribute: Attribute) -> str:
    """An attribute's name as Prometheus writes it."""
    return attribute.value.replace(".", "_")


def _by(*attributes: Attribute) -> str:
    return f"sum by ({', '.join(map(label, attributes))})"


def _rate(of: str) -> str:
    return f"rate({of}[{WINDOW}])"


_RUNS: Final = series(Metric.OPERATION_DURATION, "_count", ROLE=Role.PRIMARY.value)
_FAILED: Final = series(Metric.OPERATION_DURATION, "_count", ROLE=Role.PRIMARY.value, ERROR_TYPE="!")
_SIDES: Final = (Attribute.MIGRATION, Attribute.SIDE)

CALLS: Final = f"{_by(*_SIDES)} ({_rate(_RUNS)})"
SUCCESS: Final = f"1 - ({_by(*_SIDES)} ({_rate(_FAILED)}) or 0 * {CALLS}) / ({CALLS} > 0)"
FAILURES: Final = f"{_by(*_SIDES, Attribute.ERROR_KIND, Attribute.ERROR_TYPE)} ({_rate(_FAILED)}) > 0"
CHOSEN: Final = (
    f"{_by(Attribute.MIGRATION)} ({_rate(series(Metric.DECISIONS, SIDE=Side.CANDIDATE.value))})"
    f" / {_by(Attribute.MIGRATION)} ({_rate(series(Metric.DECISIONS))})"
)
EXPECTED: Final = (
    f"{_by(Attribute.MIGRATION)} ({_rate(series(Metric.DECISIONS_EXPECTED))})"
    f" / {_by(Attribute.MIGRATION)} ({_rate(series(Metric.DECISIONS))})"
)
EVIDENCE: Final = f"max by ({label(Attribute.MIGRATION)}) ({series(Metric.GUARD_EVIDENCE)})"
TRIPPED: Final = f"max by ({label(Attribute.MIGRATION)}) ({series(Metric.GUARD_TRIPPED)})"
DECIDED: Final = (
    f"{_by(Attribute.MIGRATION, Attribute.GUARD_RULE, Attribute.GUARD_ACTION)} ({series(Metric.GUARD_DECISIONS)})"
)
VERDICTS: Final = f"{_by(Attribute.MIGRATION, Attribute.VERDICT)} ({_rate(series(Metric.SHADOW_COMPARISONS))}) > 0"
DIFFERENCES: Final = (
    f"topk(10, {_by(Attribute.MIGRATION, Attribute.DIFFERENT_FIELD)} ({series(Metric.SHADOW_DIFFERENCES)}))"
)
NOTICES: Final = f"{_by(Attribute.MIGRATION, Attribute.NOTICE)} ({series(Metric.NOTICES)})"
ACTIVE: Final = f"{_by(*_SIDES)} ({series(Metric.ACTIVE_OPERATIONS, ROLE=Role.PRIMARY.value)})"
BYTES: Final = f"{_by(Attribute.MIGRATION)} ({_rate(series(Metric.FILE_SIZE, '_sum'))})"
THREADS: Final = f"{_by(Attribute.THREAD_NAME, Attribute.THREAD_PROBLEM)} ({series(Metric.THREAD_PROBLEMS)})"
MEMORY: Final = series(Metric.PROCESS_MEMORY)
MEMORY_LIMIT: Final = series(Metric.GUARD_MEMORY_LIMIT)
POOL: Final = series(Metric.POOL_USAGE)
POOL_LIMIT: Final = series(Metric.POOL_LIMIT)
POOL_UTILIZATION: Final = series(Metric.POOL_UTILIZATION)
# Gauges of the upload monolith; the panel is empty for applications without them.
THROTTLE: Final = "sum by (upload_provider) (upload_throttle_usage)"
THROTTLE_LIMIT: Final = "sum by (upload_provider) (upload_throttle_limit)"
THROTTLE_WAITING: Final = "sum by (upload_provider) (upload_throttle_waiting)"


def latency(share: float) -> str:
    """The duration that so great a share of the successful runs of each side does not exceed, seconds."""
    runs = series(Metric.OPERATION_DURATION, "_bucket", ROLE=Role.PRIMARY.value, ERROR_TYPE="")
    kept = ", ".join(("le", *map(label, _SIDES)))
    return f"histogram_quantile({share:g}, sum by ({kept}) ({_rate(runs)}))"


def of_histogram(metric: Metric, share: float) -> str:
    """The same of a metric of the process."""
    return f"histogram_quantile({share:g}, sum by (le) ({_rate(series(metric, '_bucket'))}))"


# The dashboard: `python -m observability.dashboards` writes it.

FILE: Final = Path(__file__).with_name("uploads.json")

_SOURCE: Final = DataSourceRef(type_val="prometheus", uid="${source}")
_SIDE: Final = f"{{{{{label(Attribute.MIGRATION)}}}}} {{{{{label(Attribute.SIDE)}}}}}"
_NAME: Final = f"{{{{{label(Attribute.MIGRATION)}}}}}"
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
    question = f"label_values(migration_decisions_total, {label(Attribute.MIGRATION)})"
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
                _number("Rolled back", "none", (TRIPPED, _NAME), "1: legacy serves every call."),
                _number("Share on the new path", "percentunit", (CHOSEN, _NAME), "Of the calls, as chosen."),
                _number("Evidence against it", "none", (EVIDENCE, _NAME), _EVIDENCE),
                _number("In flight", "none", (ACTIVE, _SIDE), "Uploads that callers wait for."),
            ],
        ),
        (
            "Both sides",
            [
                _lines("Success", "percentunit", [(SUCCESS, _SIDE)], "Share of the uploads that succeeded."),
                _lines("Uploads", "reqps", [(CALLS, _SIDE)], "Uploads that were answered."),
                _lines("Median duration", "s", [(latency(0.5), _SIDE)], "Of those that succeeded."),
                _lines("99th percentile", "s", [(latency(0.99), _SIDE)], "Of those that succeeded."),
                _lines("Failures", "reqps", [(FAILURES, f"{_SIDE} {_label(Attribute.ERROR_KIND)}")], "By kind."),
                _lines("Bytes", "Bps", [(BYTES, _NAME)], "Of the files uploaded."),
            ],
        ),
        (
            "Rollout and guard",
            [
                _lines(
                    "Share on the new path",
                    "percentunit",
                    [(CHOSEN, f"{_NAME}"), (EXPECTED, f"{_NAME} by its flag")],
                    "As chosen, and as the flag wants it; they must lie on each other.",
                ),
                _lines("Evidence against the new path", "none", [(EVIDENCE, _NAME)], _EVIDENCE),
                _lines("Decisions", "none", [(DECIDED, f"{_NAME} {_RULE}")], "Of the guard, since its start."),
                _lines("Notices", "none", [(NOTICES, f"{_NAME} {_label(Attribute.NOTICE)}")], "Since its start."),
            ],
        ),
        (
            "Comparisons",
            [
                _lines("Verdicts", "cps", [(VERDICTS, f"{_NAME} {_label(Attribute.VERDICT)}")], "On both sides."),
                _lines(
                    "Fields that differ",
                    "none",
                    [(DIFFERENCES, f"{_NAME} {_label(Attribute.DIFFERENT_FIELD)}")],
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
                    [(MEMORY, "{{instance}}"), (MEMORY_LIMIT, "{{instance}} at most")],
                    "Resident memory of each process.",
                ),
                _lines(
                    "Connections",
                    "none",
                    [(POOL, "{{instance}}"), (POOL_LIMIT, "{{instance}} at most")],
                    "Of the connection pool, in use.",
                ),
                _lines("Pool in use", "percentunit", [(POOL_UTILIZATION, "{{instance}}")], "1: all are in use."),
                _lines(
                    "Requests to each provider",
                    "none",
                    [
                        (THROTTLE, "{{upload_provider}}"),
                        (THROTTLE_LIMIT, "{{upload_provider}} at most"),
                        (THROTTLE_WAITING, "{{upload_provider}} waiting"),
                    ],
                    "In flight, the adaptive limit, and waiting.",
                ),
                _lines(
                    "Lateness of the event loop",
                    "s",
                    [(of_histogram(Metric.EVENT_LOOP_DELAY, 0.99), "99th percentile")],
                    "How late it wakes a sleeper.",
                ),
                _lines(
                    "Troubled threads",
                    "none",
                    [(THREADS, f"{_label(Attribute.THREAD_NAME)} {_label(Attribute.THREAD_PROBLEM)}")],
                    "Background threads that the system refused, or that died and began again.",
                ),
                _lines(
                    "Wait for a connection",
                    "s",
                    [(of_histogram(Metric.POOL_WAIT, 0.99), "99th percentile")],
                    "When all connections of the pool are in use.",
                ),
                _lines(
                    "HTTP requests",
                    "s",
                    [(of_histogram(Metric.HTTP_DURATION, 0.99), "99th percentile")],
                    "Of both sides, to the answer's head.",
                ),
            ],
        ),
    ]


def _label(attribute: Attribute) -> str:
    return f"{{{{{label(attribute)}}}}}"


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
