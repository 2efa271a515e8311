"""Figures that are read when metrics are collected: the guard's, and the application's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from migration.guard import GuardFigures
from observability.attributes import BoundedValues
from observability.names import Attribute, Metric, Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauge:
    """A figure of the application's own, exported beside those of its migrations.

    Attributes:
        name: of the instrument, dotted, with a prefix of the application's.
        unit: as UCUM writes it.
        description: one sentence.
        observe: gives the values of this moment, each with its labels; their number is the application's to bound.
    """

    name: str
    unit: str
    description: str
    observe: Callable[[], Iterable[tuple[float, Mapping[str, str]]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What is asked when metrics are collected, and which declared attributes are labels of metrics.

    Attributes:
        guard: gives the figures of this process's guard.
        gauges: figures of the application's own.
        labels: names of declared attributes that are labels of metrics as well, each with 50 values at most.
    """

    guard: Callable[[], GuardFigures] | None = None
    gauges: tuple[Gauge, ...] = ()
    labels: tuple[str, ...] = ()


def observe_sources(meter: Meter, sources: Sources) -> None:
    """Have the meter ask the sources at each collection."""
    if sources.guard is not None:
        _observe_guard(meter, sources.guard)
    for gauge in sources.gauges:
        _observe_gauge(meter, gauge)


def _observe_guard(meter: Meter, figures: Callable[[], GuardFigures]) -> None:
    name = BoundedValues()

    def evidence(_: CallbackOptions) -> Iterable[Observation]:
        found = figures().evidence
        return [Observation(value, {Attribute.MIGRATION: name(migration)}) for migration, value in found.items()]

    def tripped(_: CallbackOptions) -> Iterable[Observation]:
        found = figures()
        known = found.tripped | found.evidence.keys()
        return [Observation(int(each in found.tripped), {Attribute.MIGRATION: name(each)}) for each in sorted(known)]

    def decisions(_: CallbackOptions) -> Iterable[Observation]:
        return [
            Observation(
                times,
                {
                    Attribute.MIGRATION: name(migration),
                    Attribute.GUARD_RULE: rule.value,
                    Attribute.GUARD_ACTION: action.word,
                },
            )
            for (migration, rule, action), times in figures().rulings.items()
        ]

    def memory_limit(_: CallbackOptions) -> Iterable[Observation]:
        limit = figures().memory_limit
        return [] if limit is None else [Observation(limit)]

    meter.create_observable_gauge(
        Metric.GUARD_EVIDENCE, [evidence], Unit.RATIO, "Evidence against the candidate: 1 is none, 100 rolls back."
    )
    meter.create_observable_gauge(
        Metric.GUARD_TRIPPED, [tripped], Unit.RATIO, "1 while the guard has rolled the migration back, else 0."
    )
    meter.create_observable_counter(
        Metric.GUARD_DECISIONS, [decisions], Unit.DECISION, "Decisions of this process's guard."
    )
    meter.create_observable_up_down_counter(
        Metric.GUARD_MEMORY_LIMIT, [memory_limit], Unit.BYTES, "Memory that this process may have."
    )


def _observe_gauge(meter: Meter, gauge: Gauge) -> None:
    def observe(_: CallbackOptions) -> Iterable[Observation]:
        return [Observation(value, labels) for value, labels in gauge.observe()]

    meter.create_observable_up_down_counter(gauge.name, [observe], gauge.unit, gauge.description)
