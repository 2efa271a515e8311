"""Runs rows: everybody in turn, round by round, and then judges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from bench.harness import Contender, Figure, Goal, Growth, MissingProgramError, Row, RunFailedError
from bench.machine import program
from bench.proof import Proofs
from bench.ratios import Spread, round_ratios, spread
from bench.results import ContenderResult, GoalResult, GrowthResult, Point, RowResult, bends
from bench.running import Stage, run_once, sink_for

COMPARED = (Figure.RATE, Figure.COST)
"""Of these figures the page shows ratios to the row's reference."""


class Reporter(Protocol):
    """Who shows what is going on."""

    def began(self, row: Row, runs: int) -> None:
        """A row begins; it takes so many runs."""
        ...

    def running(self, row: Row, contender: Contender) -> None:
        """One of them begins."""
        ...

    def ended(self, result: RowResult) -> None:
        """A row has ended."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Competition:
    """Runs rows and growths.

    Attributes:
        stage: where.
        proofs: who sends what is to be sent.
        reporter: who shows it.
        warm_up_rounds: rounds that are not counted, in front of each row.
    """

    stage: Stage
    proofs: Proofs
    reporter: Reporter
    warm_up_rounds: int = 1

    def run(self, row: Row) -> RowResult:
        """Let all contenders of a row do its work, in turn."""
        self.reporter.began(row, (row.rounds + self.warm_up_rounds) * len(row.contenders))
        if row.prepare is not None:
            row.prepare()
        failures = {contender.name: self._refusal(row, contender) for contender in row.contenders}
        runs: dict[str, list[dict[str, float]]] = {contender.name: [] for contender in row.contenders}
        with sink_for(row, self.stage) as sink:
            for number, contender in _turns(row, self.warm_up_rounds):
                if failures[contender.name] is not None:
                    continue
                self.reporter.running(row, contender)
                try:
                    figures = run_once(row, contender, self.stage, sink)
                except RunFailedError as error:
                    failures[contender.name] = str(error)
                    continue
                if number >= self.warm_up_rounds:
                    runs[contender.name].append(figures)
        result = judged(row, runs, {name: reason for name, reason in failures.items() if reason is not None})
        self.reporter.ended(result)
        return result

    def grow(self, growth: Growth) -> GrowthResult:
        """Run all sizes of a growth."""
        points = tuple(Point(x=x, row=self.run(row)) for x, row in growth.points)
        return GrowthResult(
            name=growth.name,
            title=growth.title,
            x_label=growth.x_label,
            curves=growth.curves,
            points=points,
            bends=bends(points, growth.curves, growth.x_label),
        )

    def _refusal(self, row: Row, contender: Contender) -> str | None:
        """Why a contender does not take part at all."""
        if contender.needs is not None:
            try:
                program(contender.needs)
            except MissingProgramError as missing:
                return str(missing)
        return self.proofs.failure(row, contender)


def judged(row: Row, runs: Mapping[str, Sequence[Mapping[str, float]]], failures: Mapping[str, str]) -> RowResult:
    """The result of a row. `failures` says who is disqualified, and why; their runs do not count."""
    valid = {name: figures for name, figures in runs.items() if name not in failures}
    return RowResult(
        name=row.name,
        title=row.title,
        unit=row.unit,
        units=row.units,
        reference=row.reference,
        rounds=row.rounds,
        contenders=tuple(_contender(row, contender.name, valid, failures) for contender in row.contenders),
        goals=tuple(_goal(goal, valid, failures) for goal in row.goals),
    )


def _turns(row: Row, warm_up_rounds: int) -> Iterator[tuple[int, Contender]]:
    """Number of the round and who is next; each round begins with another contender."""
    for number in range(row.rounds + warm_up_rounds):
        first = number % len(row.contenders)
        for contender in (*row.contenders[first:], *row.contenders[:first]):
            yield number, contender


def _contender(
    row: Row, name: str, runs: Mapping[str, Sequence[Mapping[str, float]]], failures: Mapping[str, str]
) -> ContenderResult:
    if name in failures:
        return ContenderResult(name=name, failure=failures[name])
    own = runs[name]
    compared: dict[str, Spread] = {}
    if row.reference in runs:
        compared = {str(figure): spread(round_ratios(runs, figure, name, (row.reference,))) for figure in COMPARED}
    return ContenderResult(
        name=name,
        runs=tuple(own),
        spreads={figure: spread([run[figure] for run in own]) for figure in own[0]},
        compared=compared,
    )


def _goal(goal: Goal, runs: Mapping[str, Sequence[Mapping[str, float]]], failures: Mapping[str, str]) -> GoalResult:
    for name in (goal.contender, *goal.to):
        if name not in runs:
            return GoalResult(goal=goal, reason=f"{name}: {failures.get(name, 'did not take part')}")
    figures = round_ratios(runs, goal.figure, goal.contender, goal.to)
    middle = spread(figures)
    reached = (goal.at_least is None or middle.median >= goal.at_least) and (
        goal.at_most is None or middle.median <= goal.at_most
    )
    return GoalResult(goal=goal, figures=tuple(figures), spread=middle, reached=reached)
