"""What the guard and the lanes know, as metrics; and who was chosen, beside what was to be expected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from migration import ErrorKind, Outcome, Side
from migration.guard import Action, GuardFigures, Rule
from observability import Sources, Telemetry, TelemetryHandle, setup
from observability.names import Attribute, Metric
from observability.testing import Capture
from tests.observability.making import NAME, call_operation, run, side_operation


@dataclass(frozen=True, slots=True)
class AGate:
    limit: int
    inside: int
    waiting: int


@dataclass(frozen=True, slots=True)
class ALane:
    provider: str
    requests: AGate


FIGURES = GuardFigures(
    evidence={NAME: 250.0, "other": 1.0},
    latched=frozenset({NAME}),
    rulings={(NAME, Rule.EVIDENCE, Action.ROLLBACK): 1, (NAME, Rule.NEW_KIND, Action.FREEZE): 2},
    memory_limit=4096,
)
LANES = (ALane("kimi", AGate(8, 3, 1)), ALane("kimi", AGate(4, 1, 0)), ALane("glm", AGate(2, 0, 0)))


@pytest.fixture
def values(capture: Capture) -> Callable[[Metric, Attribute], dict[str, float]]:
    """The values of a metric by one of its labels."""

    def of(metric: Metric, label: Attribute) -> dict[str, float]:
        return {str(labels.get(label)): point.value for labels, point in capture.points(metric)}

    return of


@pytest.fixture
def observed(capture: Capture) -> TelemetryHandle:
    return setup(environ={}, capture=capture, sources=Sources(guard=lambda: FIGURES, lanes=lambda: LANES))


Values = Callable[[Metric, Attribute], dict[str, float]]


@pytest.mark.usefixtures("observed")
def test_the_guard_is_measured(values: Values, capture: Capture) -> None:
    """Evidence, what is rolled back, how often it ruled by which rule, and the memory that there may be."""
    assert values(Metric.GUARD_EVIDENCE, Attribute.MIGRATION) == {NAME: 250.0, "other": 1.0}
    assert values(Metric.GUARD_LATCHED, Attribute.MIGRATION) == {NAME: 1, "other": 0}
    assert values(Metric.GUARD_DECISIONS, Attribute.GUARD_RULE) == {"evidence": 1, "new_kind": 2}
    assert values(Metric.GUARD_DECISIONS, Attribute.GUARD_ACTION) == {"rollback": 1, "freeze": 2}
    [(_, limit)] = capture.points(Metric.GUARD_MEMORY_LIMIT)
    assert limit.value == 4096


@pytest.mark.usefixtures("observed")
def test_the_lanes_are_measured(values: Values) -> None:
    """Lanes to one provider are one figure."""
    assert values(Metric.THROTTLE_LIMIT, Attribute.PROVIDER) == {"kimi": 12, "glm": 2}
    assert values(Metric.THROTTLE_USAGE, Attribute.PROVIDER) == {"kimi": 4, "glm": 0}
    assert values(Metric.THROTTLE_WAITING, Attribute.PROVIDER) == {"kimi": 1, "glm": 0}


def test_choices_and_what_was_expected(telemetry: Telemetry, values: Values) -> None:
    """Each call counts for the side that was chosen, and with its probability for what was to be expected."""
    for _ in range(3):
        run(telemetry, call_operation())
    assert values(Metric.DECISIONS, Attribute.IMPLEMENTATION) == {"async": 3}
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
