"""What others know and is looked up when metrics are collected: the guard, and the lanes to the providers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from migration.guard import GuardFigures
from observability.attributes import BoundedValues
from observability.names import Attribute, Metric, Unit


class Gate(Protocol):
    """A throttle as it stands."""

    @property
    def limit(self) -> int:
        """How many may be inside at once."""
        ...

    @property
    def inside(self) -> int:
        """How many are."""
        ...

    @property
    def waiting(self) -> int:
        """How many are not yet."""
        ...


class Lane(Protocol):
    """The way to one provider."""

    @property
    def provider(self) -> str:
        """Whose it is."""
        ...

    @property
    def requests(self) -> Gate:
        """Requests to the provider."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Who is asked when metrics are collected; nobody by default.

    Attributes:
        guard: says what the guard of this process knows.
        lanes: says how the lanes of this process stand.
    """

    guard: Callable[[], GuardFigures] | None = None
    lanes: Callable[[], Iterable[Lane]] | None = None


def observe_sources(meter: Meter, sources: Sources) -> None:
    """Have the meter ask them."""
    if sources.guard is not None:
        _observe_guard(meter, sources.guard)
    if sources.lanes is not None:
        _observe_lanes(meter, sources.lanes)


def _observe_guard(meter: Meter, figures: Callable[[], GuardFigures]) -> None:
    name = BoundedValues()

    def evidence(_: CallbackOptions) -> Iterable[Observation]:
        found = figures().evidence
        return [Observation(value, {Attribute.MIGRATION: name(migration)}) for migration, value in found.items()]

    def latched(_: CallbackOptions) -> Iterable[Observation]:
        found = figures()
        known = found.latched | found.evidence.keys()
        return [Observation(int(each in found.latched), {Attribute.MIGRATION: name(each)}) for each in sorted(known)]

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
        Metric.GUARD_LATCHED, [latched], Unit.RATIO, "1 while the guard has rolled the migration back, else 0."
    )
    meter.create_observable_counter(
        Metric.GUARD_DECISIONS, [decisions], Unit.DECISION, "Decisions of this process's guard."
    )
    meter.create_observable_up_down_counter(
        Metric.GUARD_MEMORY_LIMIT, [memory_limit], Unit.BYTES, "Memory that this process may have."
    )


def _observe_lanes(meter: Meter, lanes: Callable[[], Iterable[Lane]]) -> None:
    name = BoundedValues()

    def observing(measure: Callable[[Gate], int]) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterable[Observation]:
            sums: dict[str, int] = {}
            for lane in lanes():
                provider = name(lane.provider)
                sums[provider] = sums.get(provider, 0) + measure(lane.requests)
            return [Observation(value, {Attribute.PROVIDER: provider}) for provider, value in sums.items()]

        return observe

    for metric, measure, what in (
        (Metric.THROTTLE_LIMIT, lambda gate: gate.limit, "Requests that a provider turns out to take at once."),
        (Metric.THROTTLE_USAGE, lambda gate: gate.inside, "Requests to a provider that are under way."),
        (Metric.THROTTLE_WAITING, lambda gate: gate.waiting, "Requests that wait for their turn."),
    ):
        meter.create_observable_up_down_counter(metric, [observing(measure)], Unit.REQUEST, what)
