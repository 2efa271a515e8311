"""What a run of the benchmark found, as it stands in the JSON file, and what bends first when work grows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

from bench.harness import Curve, Goal, NoResultsError
from bench.machine import Machine
from bench.ratios import Spread

SCHEMA = 1
"""Version of the JSON file's layout."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContenderResult:
    """What one contender did in one row.

    Attributes:
        name: who.
        runs: the figures of each round, in order; empty if it is disqualified.
        spreads: median and quartiles of each figure.
        compared: of rate and cost as ratios to the row's reference, round by round.
        failure: why it is disqualified or was left out, if so.
    """

    name: str
    runs: tuple[Mapping[str, float], ...] = ()
    spreads: Mapping[str, Spread] = field(default_factory=dict)
    compared: Mapping[str, Spread] = field(default_factory=dict)
    failure: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GoalResult:
    """Whether a goal was reached.

    Attributes:
        goal: the goal.
        figures: its figure or ratio in each round.
        spread: median and quartiles of those.
        reached: None if it could not be measured.
        reason: why not, then.
    """

    goal: Goal
    figures: tuple[float, ...] = ()
    spread: Spread | None = None
    reached: bool | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RowResult:
    """What a row found; the attributes without a word here are those of `Row`."""

    name: str
    title: str
    unit: str
    units: float
    reference: str
    rounds: int
    contenders: tuple[ContenderResult, ...]
    goals: tuple[GoalResult, ...]

    def find(self, name: str) -> ContenderResult | None:
        """The contender of that name, if it took part."""
        return next((contender for contender in self.contenders if contender.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One size of a growth."""

    x: float
    row: RowResult


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowthResult:
    """How cost grew.

    Attributes:
        name, title, x_label, curves: as of `Growth`.
        points: from the smallest to the largest size.
        bends: what grows faster than the work, and from where on, in a sentence for each contender.
    """

    name: str
    title: str
    x_label: str
    curves: tuple[Curve, ...]
    points: tuple[Point, ...]
    bends: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """A whole run.

    Attributes:
        schema: `SCHEMA`.
        quick: it was a quick one; its figures are not for quoting.
        machine: where it ran.
        rows: in the order in which they ran.
        growths: likewise.
    """

    schema: int = SCHEMA
    quick: bool
    machine: Machine
    rows: tuple[RowResult, ...]
    growths: tuple[GrowthResult, ...]

    def to_json(self) -> bytes:
        """As it is saved."""
        return _ADAPTER.dump_json(self, indent=1)


_ADAPTER = TypeAdapter(Results)


def load_results(path: Path) -> Results:
    """Read what `Results.to_json` wrote.

    Raises:
        NoResultsError: there is no such file.
        ValueError: it holds something else.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise NoResultsError(f"there are no results in {path}; run the benchmark first") from None
    return _ADAPTER.validate_json(text)


# What bends first when work grows, computed from the data.

BENT = 1.5
"""A curve has bent where it lies this much above the lowest point in front of it."""

_NOISE_MIB = 1.0
_NOISE_MS = 1.0
"""What no curve bends by: memory comes in pages and pools, ticks are a millisecond apart."""


def value(point: Point, contender: str, curve: Curve) -> float | None:
    """The median of a curve's figure at a point, divided as the curve says; None if it was not measured."""
    result = point.row.find(contender)
    found = result.spreads.get(curve.figure) if result else None
    if found is None:
        return None
    divisor = (point.row.units / 1000 if curve.per_unit else 1.0) * (point.x if curve.per_point else 1.0)
    return found.median / divisor


def bend(values: Sequence[tuple[float, float]], *, noise: float = 0.0) -> tuple[float, float] | None:
    """Where (x, value) pairs first rise to `BENT` times the lowest value before, and by how much; None: nowhere.

    A rise by less than `noise` is none.
    """
    lowest = float("inf")
    for x, figure in values:
        if figure >= BENT * lowest and figure - lowest > noise:
            return x, figure / lowest if lowest > 0 else float("inf")
        lowest = min(lowest, figure)
    return None


def bends(points: Sequence[Point], curves: Iterable[Curve], x_label: str) -> tuple[str, ...]:
    """A sentence for each contender: which of the curves bends first, and where."""
    names = [contender.name for contender in points[0].row.contenders]
    return tuple(_sentence(name, points, tuple(curves), x_label) for name in names)


def _sentence(name: str, points: Sequence[Point], curves: Sequence[Curve], x_label: str) -> str:
    found = []
    for curve in curves:
        values = [(point.x, figure) for point in points if (figure := value(point, name, curve)) is not None]
        bent = bend(values, noise=_noise(curve))
        if bent is not None:
            found.append((bent[0], -bent[1], curve))
    stops = _failure(name, points)
    if not found:
        return f"**{name}**: nothing bends; no curve rises to {BENT:g} times its lowest point.{stops}"
    x, by, curve = min(found, key=lambda each: each[:2])
    times = "from nothing" if by == float("-inf") else f"to {-by:.1f} times its lowest point"
    return f"**{name}**: {curve.label} bends first, at {x:g} ({x_label}): it rises {times}.{stops}"


def _failure(name: str, points: Sequence[Point]) -> str:
    for point in points:
        result = point.row.find(name)
        if result is not None and result.failure is not None:
            return f" It fails at {point.x:g}: {result.failure}."
    return ""


def _noise(curve: Curve) -> float:
    if "mib" in curve.figure:
        return _NOISE_MIB
    return _NOISE_MS if "_ms" in curve.figure else 0.0
