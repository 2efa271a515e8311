"""The arithmetic: medians, quartiles, ratios round by round."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Where the middle half of some figures lies.

    Attributes:
        q1: first quartile.
        median: the middle.
        q3: third quartile.
    """

    q1: float
    median: float
    q3: float


def spread(figures: Sequence[float]) -> Spread:
    """Median and quartiles, interpolated between neighbours; a single figure is all three.

    Raises:
        ValueError: there are none.
    """
    if not figures:
        raise ValueError("there are no figures")
    if len(figures) == 1:
        return Spread(q1=figures[0], median=figures[0], q3=figures[0])
    q1, median, q3 = statistics.quantiles(figures, n=4, method="inclusive")
    return Spread(q1=q1, median=median, q3=q3)


def percentile(figures: Sequence[float], percent: float) -> float:
    """The smallest figure that at least `percent` of all do not exceed (nearest rank).

    Raises:
        ValueError: there are none.
    """
    if not figures:
        raise ValueError("there are no figures")
    ordered = sorted(figures)
    return ordered[max(math.ceil(len(ordered) * percent / 100) - 1, 0)]


def round_ratios(
    runs: Mapping[str, Sequence[Mapping[str, float]]], figure: str, contender: str, to: Sequence[str] = ()
) -> list[float]:
    """A figure of one contender in each round, divided by the sum of those of others in the same round.

    `runs` has each contender's rounds in their order. Without `to` the figures themselves are returned.

    Raises:
        KeyError: a contender did not run, or has no such figure.
        ZeroDivisionError: the others' figures add up to nothing.
    """
    own = [run[figure] for run in runs[contender]]
    if not to:
        return own
    others = [sum(figures) for figures in zip(*([run[figure] for run in runs[name]] for name in to), strict=True)]
    return [mine / theirs for mine, theirs in zip(own, others, strict=True)]
