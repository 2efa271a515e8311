"""The instruments of one meter provider, what they keep between collections, and where further figures come from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import psutil
from opentelemetry.metrics import CallbackOptions, Histogram, Meter, Observation

from migration import Decision, Side
from migration.forking import new_lock
from migration.guard import GuardFigures
from migration.model import Role
from migration.threads import thread_troubles
from observability.names import SIDE, SIDES, Attribute, BoundedValues, Metric, Unit, run_attributes


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


Labels = dict[str, str | int]
"""Attributes of one measurement; each value is bounded in number."""

_MIGRATION: Final = Attribute.MIGRATION.value  # plain text, as in `_attributes`

# The boundaries that the conventions give for `http.client.request.duration`; uploads of large files take longer.
_HTTP_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
_UPLOAD_SECONDS: Final = (*_HTTP_SECONDS, 30, 60, 120, 300, 600)
_DELAY_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_FILE_BYTES: Final = tuple(4**power * 1024 for power in range(10))  # 1 KiB .. 256 MiB
_REMEMBERED: Final = 1000
"""Kinds of runs whose labels are remembered; beyond, all are forgotten and made again."""


class Tally:
    """Numbers that go up and down, one for each set of labels, read when metrics are collected.

    A change costs 2 µs here and 25 µs in an up-down counter of the SDK.
    """

    __slots__ = ("_counts", "_lock")

    def __init__(self) -> None:
        self._lock = new_lock()
        self._counts: defaultdict[tuple[tuple[str, str | int], ...], float] = defaultdict(int)

    def add(self, change: float, labels: Labels) -> None:
        """Change the number that belongs to these labels."""
        key = tuple(labels.items())
        with self._lock:
            self._counts[key] += change

    def observe(self, _: CallbackOptions) -> Iterable[Observation]:
        """Return the numbers as they are now."""
        with self._lock:
            return [Observation(count, dict(labels)) for labels, count in self._counts.items()]


class PoolGauge:
    """How many connections a pool holds, and how many of them are in use."""

    __slots__ = ("_limit", "_lock", "_used")

    def __init__(self) -> None:
        self._lock = new_lock()
        self._limit = 0
        self._used = 0

    def set_limit(self, connections: int) -> None:
        """Note how many connections the pool may hold."""
        self._limit = connections

    def add(self, change: int) -> None:
        """Change the number of connections in use."""
        with self._lock:
            self._used += change

    @property
    def state(self) -> tuple[int, int] | None:
        """Connections in use and at most; None before there is a pool."""
        return (self._used, self._limit) if self._limit else None

    def observing(self, figure: Callable[[int, int], float]) -> Callable[[CallbackOptions], Iterable[Observation]]:
        """A callback that gives a figure of `state`, once there is a pool."""

        def observe(_: CallbackOptions) -> Iterable[Observation]:
            state = self.state
            return [] if state is None else [Observation(figure(*state))]

        return observe


def _thread_problems(_: CallbackOptions) -> Iterable[Observation]:
    return [
        Observation(count, {Attribute.THREAD_NAME: name, Attribute.THREAD_PROBLEM: problem})
        for name, trouble in thread_troubles().items()
        for problem, count in (("refused", trouble.refused), ("died", trouble.died))
        if count
    ]


class Bounds:
    """One bound for each attribute whose values come from outside."""

    __slots__ = ("error_type", "field", "migration", "server", "status")

    def __init__(self) -> None:
        self.error_type = BoundedValues()
        self.field = BoundedValues()
        self.migration = BoundedValues()
        self.server = BoundedValues()
        self.status = BoundedValues()


class Instruments:
    """Everything that is measured. Durations are in seconds, sizes in bytes."""

    def __init__(self, meter: Meter, sources: Sources) -> None:
        self.bounds = Bounds()
        self._labels = {name: BoundedValues() for name in sources.labels}
        self.active = Tally()
        self._decided = Tally()
        self._expected = Tally()
        self._run_labels: dict[tuple[str, tuple[str | int | None, ...], Side, Role], Labels] = {}
        self.pool = PoolGauge()
        self._process = psutil.Process()

        def histogram(metric: Metric, unit: Unit, boundaries: Sequence[float], description: str) -> Histogram:
            return meter.create_histogram(metric, unit, description, explicit_bucket_boundaries_advisory=boundaries)

        self.operation_duration = histogram(
            Metric.OPERATION_DURATION,
            Unit.SECONDS,
            _UPLOAD_SECONDS,
            "Duration of one run of one implementation; `error.type` is set on failures only.",
        )
        self.file_size = histogram(Metric.FILE_SIZE, Unit.BYTES, _FILE_BYTES, "Size of the files that calls worked on.")
        self.http_duration = histogram(
            Metric.HTTP_DURATION, Unit.SECONDS, _UPLOAD_SECONDS, "Duration of HTTP requests, to the answer's head."
        )
        self.pool_wait = histogram(
            Metric.POOL_WAIT, Unit.SECONDS, _HTTP_SECONDS, "Time that requests waited for a connection of the pool."
        )
        self.loop_delay = histogram(
            Metric.EVENT_LOOP_DELAY,
            Unit.SECONDS,
            _DELAY_SECONDS,
            "How late the background event loop wakes a sleeper.",
        )
        self.comparisons = meter.create_counter(
            Metric.SHADOW_COMPARISONS, Unit.COMPARISON, "Verdicts on shadowed calls."
        )
        self.differences = meter.create_counter(
            Metric.SHADOW_DIFFERENCES, Unit.COMPARISON, "Comparisons in which a field differs, by field."
        )
        self.notices = meter.create_counter(
            Metric.NOTICES, Unit.NOTICE, "Messages for operators, fallbacks to the legacy side among them."
        )
        self._observe_state(meter)
        observe_sources(meter, sources)

    def _observe_state(self, meter: Meter) -> None:
        rises, moves = meter.create_observable_counter, meter.create_observable_up_down_counter
        expected = "Sum of the probabilities with which the candidate was to be chosen."
        utilization = self.pool.observing(lambda used, limit: used / limit)
        moves(Metric.ACTIVE_OPERATIONS, [self.active.observe], Unit.RUN, "Runs in flight.")
        rises(Metric.DECISIONS, [self._decided.observe], Unit.DECISION, "Calls by the side that was chosen for them.")
        rises(Metric.DECISIONS_EXPECTED, [self._expected.observe], Unit.DECISION, expected)
        moves(Metric.POOL_USAGE, [self.pool.observing(lambda used, _: used)], Unit.CONNECTION, "Connections in use.")
        moves(
            Metric.POOL_LIMIT,
            [self.pool.observing(lambda _, limit: limit)],
            Unit.CONNECTION,
            "Connections that the pool may hold.",
        )
        meter.create_observable_gauge(Metric.POOL_UTILIZATION, [utilization], Unit.RATIO, "Share of the pool in use.")
        moves(Metric.PROCESS_MEMORY, [self._memory], Unit.BYTES, "Resident memory of this process.")
        problems = "Background threads that the system refused to start, or that died and began again."
        rises(Metric.THREAD_PROBLEMS, [_thread_problems], Unit.THREAD, problems)

    def _memory(self, _: CallbackOptions) -> Iterable[Observation]:
        return [Observation(self._process.memory_info().rss)]

    def decided(self, migration: str, decision: Decision) -> None:
        """Count a decision, and what was to be expected of it."""
        name = self.bounds.migration(migration)
        self._decided.add(1, {_MIGRATION: name, SIDE: SIDES[decision.serve]})
        self._expected.add(decision.probability, {_MIGRATION: name})

    def run_labels(self, migration: str, facts: Mapping[str, str | int], side: Side, role: Role) -> Labels:
        """Labels of a run of a side, remembered; not to be changed."""
        kind = migration, tuple([facts.get(name) for name in self._labels]), side, role
        labels = self._run_labels.get(kind)
        if labels is None:
            labels = self.call_labels(migration, facts) | run_attributes(side, role)
            if len(self._run_labels) >= _REMEMBERED:
                self._run_labels.clear()
            self._run_labels[kind] = labels
        return labels

    def call_labels(self, migration: str, facts: Mapping[str, str | int]) -> Labels:
        """Labels that every measurement of a call has: its migration, and those declared attributes that are labels."""
        labels: Labels = {_MIGRATION: self.bounds.migration(migration)}
        for name, bounded in self._labels.items():
            value = facts.get(name)
            if value is not None:
                labels[name] = bounded(str(value))
        return labels
