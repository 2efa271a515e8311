"""How the calls of all machines went, asked of a Prometheus server."""

from __future__ import annotations

import json
import math
from typing import Any

from flags.http import HttpBounds, IncompleteAnswerError, ask
from migration.model import Role
from migration.rollout import CallCounter, CounterReading
from observability.names import SIDES, Attribute, Metric
from shim.errors import ShimError

BOUNDS = HttpBounds(timeout=5.0, seconds=10.0, max_bytes=32 * 1024 * 1024)
"""Of one query; as many counters as are followed take a tenth of the bytes."""

MAX_COUNTERS = 10_000
"""Counters that are followed; with more of them the answer is not relied on."""

_LABEL = {attribute: attribute.value.replace(".", "_") for attribute in Attribute}
_TARGET = ("job", "instance")

_Sample = tuple[dict[str, str], float]


class PrometheusQueryError(ShimError):
    """A Prometheus server did not answer a query."""


class PrometheusTallies:
    """Counts the runs that answered callers, on all machines that a Prometheus server scrapes.

    Its `increase()` is not used: it does not see the first value of a counter, and the first failure of a kind is a new
    counter. Instead each counter is followed from query to query, which also finds those that were reset.

    Args:
        url: of the server.
    """

    is_fleet = True

    def __init__(self, url: str) -> None:
        self._address = f"{url.rstrip('/')}/api/v1/query"

    def read(self, migration: str) -> CounterReading:
        """The counters of all machines; what fails, and a machine that is not scraped, are the reading's problem."""
        counts = counts_query(migration)
        try:
            counters = [_counter(*each) for each in self._ask(counts)]
            if len(counters) > MAX_COUNTERS:
                return CounterReading(problem=f"Prometheus has {len(counters)} counters of it, more than are followed")
            ages = [value for _, value in self._ask(f"max(time() - timestamp({_selected(migration)}))")]
            silent = [_target(labels) for labels, _ in self._ask(silent_query(migration))]
        except PrometheusQueryError as error:
            return CounterReading(problem=str(error))
        problem = f"{', '.join(sorted(silent)[:5])} cannot be scraped" if silent else None
        return CounterReading(counters=counters, age=max(ages, default=None), problem=problem)

    def _ask(self, query: str) -> list[_Sample]:
        """The vector that a query gives at this moment: labels, and a finite number.

        Raises:
            PrometheusQueryError: there is none.
        """
        try:
            answer = ask("POST", self._address, data={"query": query}, bounds=BOUNDS)
            document = json.loads(answer.content) if answer.content else None
        except (IncompleteAnswerError, ValueError, RecursionError) as error:
            problem = error.problem if isinstance(error, IncompleteAnswerError) else type(error).__name__
            raise PrometheusQueryError(f"Prometheus gave no usable answer: {problem}") from None
        if not isinstance(document, dict) or document.get("status") != "success":
            raise PrometheusQueryError(f"Prometheus refused a query (status {answer.status})")
        if document.get("warnings"):
            raise PrometheusQueryError("Prometheus answers in part only")
        try:
            return [_sample(each) for each in document["data"]["result"]]
        except (KeyError, IndexError, TypeError, ValueError):
            raise PrometheusQueryError("Prometheus answers with something else than a vector of numbers") from None


def counts_query(migration: str) -> str:
    """PromQL: how many calls each side has answered, by process and by kind of failure."""
    kept = ", ".join((*_TARGET, _LABEL[Attribute.SIDE], _LABEL[Attribute.ERROR_TYPE]))
    return f"sum by ({kept}) ({_selected(migration)})"


def silent_query(migration: str) -> str:
    """PromQL: processes that Prometheus is to scrape, and cannot, of the jobs that export counts of this migration."""
    return f"(up == 0) and on (job) {_selected(migration)}"


def _selected(migration: str) -> str:
    metric = f"{Metric.OPERATION_DURATION.value.replace('.', '_')}_seconds_count"
    name = migration.replace("\\", "\\\\").replace('"', '\\"')
    return f'{metric}{{{_LABEL[Attribute.MIGRATION]}="{name}", {_LABEL[Attribute.ROLE]}="{Role.PRIMARY.value}"}}'


def _sample(sample: Any) -> _Sample:
    value = float(sample["value"][1])
    if not math.isfinite(value):
        raise ValueError(value)
    return {str(name): str(label) for name, label in dict(sample["metric"]).items()}, value


def _counter(labels: dict[str, str], value: float) -> CallCounter:
    side_label = labels.get(_LABEL[Attribute.SIDE])
    error = labels.get(_LABEL[Attribute.ERROR_TYPE], "")
    side = next((side for side, name in SIDES.items() if name == side_label), None)
    if side is None or value < 0:
        raise PrometheusQueryError(f"Prometheus has counted {value:g} calls of a side called {side_label!r}")
    return CallCounter(
        source=_target(labels),
        key=f"{side_label} {error}",
        side=side,
        bad=bool(error),
        value=value,
    )


def _target(labels: dict[str, str]) -> str:
    return "/".join(labels.get(name, "") for name in _TARGET)
