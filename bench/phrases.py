"""How figures and goals read: in the terminal, on the page, in a quotation."""

from __future__ import annotations

from bench.harness import Figure, Goal
from bench.results import GoalResult, Results, RowResult

_NAMES = {
    Figure.WALL: "seconds",
    Figure.CPU: "CPU seconds",
    Figure.MEMORY: "memory above baseline",
    Figure.STALL_P99: "99th percentile stall of the loop",
    Figure.STALL_MAX: "longest stall of the loop",
}
_UNITS = {Figure.MEMORY: " MiB", Figure.STALL_P99: " ms", Figure.STALL_MAX: " ms"}

_HUNDRED = 100.0
_TEN = 10.0


def figure_name(figure: str, unit: str) -> str:
    """What a figure is called in a row that counts in `unit`."""
    if figure == Figure.RATE:
        return f"{unit} a second"
    if figure == Figure.COST:
        return {"MB": "CPU seconds a GB", "calls": "CPU ms a call"}.get(unit, f"CPU ms a {unit.removesuffix('s')}")
    return _NAMES.get(Figure(figure), figure) if figure in set(Figure) else figure.replace("_", " ")


def number(value: float) -> str:
    """Three figures are enough."""
    if abs(value) >= _HUNDRED:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= _TEN else f"{value:.2f}"


def goal_text(goal: Goal, row: RowResult) -> str:
    """A goal in words."""
    return f"{goal_subject(goal, row)}, {bound(goal)}"


def goal_subject(goal: Goal, row: RowResult) -> str:
    """What a goal bounds."""
    against = f" against {' + '.join(goal.to)}" if goal.to else ""
    return f"{goal.contender}{against}: {figure_name(goal.figure, row.unit)}"


def bound(goal: Goal) -> str:
    """The bound itself."""
    parts = [
        f"{word} {_amount(limit, goal)}"
        for word, limit in (("at least", goal.at_least), ("at most", goal.at_most))
        if limit is not None
    ]
    return " and ".join(parts)


def shown_spread(result: GoalResult) -> str:
    """Median and quartiles of what was measured."""
    if result.spread is None:
        return "-"
    middle = result.spread
    return f"{_amount(middle.median, result.goal)} ({number(middle.q1)} to {number(middle.q3)})"


def verdict(result: GoalResult, *, short: bool = False) -> str:
    """Whether a goal was reached."""
    if result.reached is None:
        return f"not measured: {result.reason}"
    word = "reached" if result.reached else "not reached"
    return word if short else f"{word}: {shown_spread(result)}"


def machine_text(results: Results) -> str:
    """Where the figures are from."""
    machine = results.machine
    return (
        f"{machine.processor}, {machine.cores} cores, {machine.memory_gib:g} GiB, {machine.kernel}, {machine.python}, "
        f"{machine.openssl}; load before the run {machine.load:g}"
    )


def _amount(value: float, goal: Goal) -> str:
    if goal.to:
        return f"{number(value)} ×"  # noqa: RUF001  # the sign that readers expect
    return f"{number(value)}{_UNITS.get(Figure(goal.figure), '') if goal.figure in set(Figure) else ''}"
