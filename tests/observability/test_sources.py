"""What the guard and the application know, as metrics; and who was chosen, beside what was to be expected."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from migration import Side
from migration.guard import Action, GuardFigures, Rule
from migration.model import ErrorKind, Outcome
from observability import Gauge, Sources, Telemetry, TelemetryHandle, setup
from observability.names import Attribute, Metric
from observability.testing import Capture
from tests.observability.making import NAME, call_operation, run, side_operation

FIGURES = GuardFigures(
    evidence={NAME: 250.0, "other": 1.0},
    tripped=frozenset({NAME}),
    rulings={(NAME, Rule.EVIDENCE, Action.ROLLBACK): 1, (NAME, Rule.NEW_KIND, Action.FREEZE): 2},
    memory_limit=4096,
)
GAUGE = Gauge(
    name="shop.queue.length",
    unit="{order}",
    description="Orders that wait.",
    observe=lambda: [(12, {"shop.name": "north"}), (2, {"shop.name": "south"})],
)


@pytest.fixture
def values(capture: Capture) -> Callable[[Metric, Attribute], dict[str, float]]:
    """The values of a metric by one of its labels."""

    def of(metric: Metric, label: Attribute) -> dict[str, float]:
        return {str(labels.get(label)): point.value for labels, point in capture.points(metric)}

    return of


@pytest.fixture
def observed(capture: Capture) -> TelemetryHandle:
    return setup(environ={}, capture=capture, sources=Sources(guard=lambda: FIGURES, gauges=(GAUGE,)))


Values = Callable[[Metric, Attribute], dict[str, float]]


@pytest.mark.usefixtures("observed")
def test_the_guard_is_measured(values: Values, capture: Capture) -> None:
    """Evidence, what is rolled back, how often it ruled by which rule, and the memory that there may be."""
    assert values(Metric.GUARD_EVIDENCE, Attribute.MIGRATION) == {NAME: 250.0, "other": 1.0}
    assert values(Metric.GUARD_TRIPPED, Attribute.MIGRATION) == {NAME: 1, "other": 0}
    assert values(Metric.GUARD_DECISIONS, Attribute.GUARD_RULE) == {"evidence": 1, "new_kind": 2}
    assert values(Metric.GUARD_DECISIONS, Attribute.GUARD_ACTION) == {"rollback": 1, "freeze": 2}
    [(_, limit)] = capture.points(Metric.GUARD_MEMORY_LIMIT)
    assert limit.value == 4096


@pytest.mark.usefixtures("observed")
def test_an_applications_own_gauge(capture: Capture) -> None:
    """A gauge of the application is exported under its own name, with its own labels."""
    points = {labels["shop.name"]: point.value for labels, point in capture.points("shop.queue.length")}
    assert points == {"north": 12, "south": 2}


def test_choices_and_what_was_expected(telemetry: Telemetry, values: Values) -> None:
    """Each call counts for the side that was chosen, and with its probability for what was to be expected."""
    for _ in range(3):
        run(telemetry, call_operation())
    assert values(Metric.DECISIONS, Attribute.SIDE) == {"candidate": 3}
    assert values(Metric.DECISIONS_EXPECTED, Attribute.MIGRATION) == {NAME: 0.75}


def test_kind_of_a_failure(telemetry: Telemetry, capture: Capture) -> None:
    """A failure says its kind, whichever exception it was, on the metric and on the span."""
    operation = side_operation(Side.CANDIDATE)
    with telemetry.operation(operation):
        operation.outcome = Outcome(
            side=Side.CANDIDATE, seconds=0.5, error=RuntimeError(), error_kind=ErrorKind.TIMEOUT
        )
    [(labels, _)] = capture.points(Metric.OPERATION_DURATION)
    assert (labels[Attribute.ERROR_TYPE], labels[Attribute.ERROR_KIND]) == ("RuntimeError", "timeout")
    [span] = capture.spans()
    assert (span.attributes or {})[Attribute.ERROR_KIND] == "timeout"
