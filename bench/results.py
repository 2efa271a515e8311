"""What a run of the benchmark found, as it stands in the JSON file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

from bench.errors import NoResultsError
from bench.harness import Curve, Goal
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
