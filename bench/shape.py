"""What bends first when work grows, computed from the data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.harness import Curve
from bench.results import Point

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
