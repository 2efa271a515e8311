"""The PromQL of the dashboard, with the names of `observability.names` as Prometheus has them."""

from __future__ import annotations

from typing import Final

from migration import Side
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
