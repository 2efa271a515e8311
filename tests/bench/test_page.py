"""From figures to verdicts, sentences and the page."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from bench.competition import judged
from bench.harness import Contender, Curve, Figure, Goal, NoResultsError, Row
from bench.limits import limits_text
from bench.machine import this_machine
from bench.page import page_text, quotation, write_page
from bench.results import GrowthResult, Point, Results, RowResult, bend, bends, load_results


def run(wall: float, cpu: float, memory: float = 1.0) -> dict[str, float]:
    return {
        Figure.WALL: wall,
        Figure.CPU: cpu,
        Figure.RATE: 100 / wall,
        Figure.COST: cpu * 10,
        Figure.MEMORY: memory,
        "sink_busy": 0.2,
    }


def row(*goals: Goal) -> Row:
    names = ("engine", "legacy", "cheat")
    return Row(
        name="large",
        title="One large file",
        unit="MB",
        units=100,
        contenders=tuple(Contender(name=name, entry="nowhere:nothing") for name in names),
        reference="legacy",
        goals=goals,
        rounds=3,
    )


GOALS = (
    Goal(contender="engine", figure=Figure.RATE, to=("legacy",), at_least=1.5),
    Goal(contender="engine", figure=Figure.COST, to=("legacy",), at_most=0.4),
    Goal(contender="engine", figure=Figure.MEMORY, at_most=4.0),
    Goal(contender="engine", figure=Figure.RATE, to=("cheat",), at_least=1.0),
)


def result() -> RowResult:
    runs = {
        "engine": [run(1.0, 1.0), run(2.0, 1.0), run(4.0, 1.0)],
        "legacy": [run(2.0, 2.0, 50), run(4.0, 2.0, 50), run(4.0, 2.0, 50)],
        "cheat": [run(0.1, 0.1)],
    }
    return judged(row(*GOALS), runs, {"cheat": "2 bytes | are missing"})


MACHINE = this_machine()


def results(*, quick: bool = False) -> Results:
    curves = (Curve(figure=Figure.COST, label="CPU seconds a GB"), Curve(figure=Figure.MEMORY, label="memory in MiB"))
    points = tuple(Point(x=x, row=result()) for x in (1, 10))
    growth = GrowthResult(
        name="growth",
        title="Larger",
        x_label="MB",
        curves=curves,
        points=points,
        bends=bends(points, curves, "MB"),
    )
    return Results(quick=quick, machine=MACHINE, rows=(result(),), growths=(growth,))


def test_goals_are_judged_by_the_median_of_the_ratios_of_each_round() -> None:
    """Not by the ratio of the medians; who is disqualified reaches nothing and is no yardstick."""
    rate, cost, memory, against_cheat = result().goals
    assert (rate.figures, rate.reached) == ((2.0, 2.0, 1.0), True)
    assert (cost.figures, cost.reached) == ((0.5, 0.5, 0.5), False)
    assert (memory.figures, memory.reached) == ((1.0, 1.0, 1.0), True)
    assert (against_cheat.reached, against_cheat.reason) == (None, "cheat: 2 bytes | are missing")


def test_the_file_holds_everything(tmp_path: Path) -> None:
    """What was saved is what is read."""
    path = tmp_path / "results.json"
    path.write_bytes(results().to_json())
    assert load_results(path) == results()


def test_without_results_there_is_no_page(tmp_path: Path) -> None:
    """The error says what to do."""
    with pytest.raises(NoResultsError, match="run the benchmark first"):
        load_results(tmp_path / "results.json")


def test_the_page_shows_ratios_first(tmp_path: Path) -> None:
    """Goals, ratios, growth; then absolute figures with the machine; its pictures exist and have no background."""
    page = write_page(results(), tmp_path)
    text = page.read_text(encoding="utf-8")
    assert text.index("## One large file") < text.index("## How cost grows") < text.index("## Absolute figures")
    assert "| engine | 2.00 (1.50 to 2.00) | 0.50 (0.50 to 0.50) |" in text
    assert "disqualified: 2 bytes / are missing" in text
    assert MACHINE.processor in text
    pictures = re.findall(r"\]\(([^)]+\.svg)\)", text)
    assert pictures == ["benchmarks/large.svg", "benchmarks/growth.svg"]
    for picture in pictures:
        drawn = (tmp_path / picture).read_text(encoding="utf-8")
        assert "<text" in drawn
        assert "fill: #ffffff" not in drawn


def test_the_same_results_give_the_same_page(tmp_path: Path) -> None:
    """A page that was made again without new figures shows no difference, pictures included."""
    first, second = (write_page(results(), tmp_path / name).parent for name in ("1", "2"))
    for path in first.rglob("*.*"):
        assert path.read_bytes() == (second / path.relative_to(first)).read_bytes()


def test_a_row_in_which_everybody_failed_can_be_shown(tmp_path: Path) -> None:
    """The page then says why."""
    failed = judged(row(*GOALS), {}, dict.fromkeys(("engine", "legacy", "cheat"), "no such host"))
    page = write_page(replace(results(), rows=(failed,), growths=()), tmp_path)
    assert page.read_text(encoding="utf-8").count("disqualified: no such host") == 6


def test_a_quick_run_says_so_and_is_not_quoted() -> None:
    """Only a whole run may be quoted."""
    assert "quick run" in page_text(results(quick=True))
    assert "quick run" not in page_text(results())
    with pytest.raises(NoResultsError, match="only a whole run"):
        quotation(results(quick=True))


def test_a_quotation_has_ratios_only() -> None:
    """With their spread, their goals, the machine, and how many goals were reached."""
    text = quotation(results())
    assert "2 of 4 goals were reached" in text
    assert "| One large file | engine against legacy: MB a second | 2.00 × (1.50 to 2.00) | at least 1.50 × |" in text  # noqa: RUF001  # as readers see it
    assert "memory" not in text
    assert MACHINE.processor in text


@pytest.mark.parametrize(
    ("values", "bent"),
    [
        ([(1, 2.0), (10, 2.5), (100, 2.9)], None),
        ([(1, 2.0), (10, 3.0), (100, 9.0)], (10, 1.5)),
        ([(1, 9.0), (10, 2.0), (100, 4.0)], (100, 2.0)),
        ([(1, 0.1), (10, 0.9)], None),
        ([], None),
    ],
)
def test_a_curve_bends_where_it_rises_over_its_lowest_point(
    values: list[tuple[float, float]], bent: tuple[float, float] | None
) -> None:
    """A fall is no bend, nor is a rise within the noise."""
    assert bend(values, noise=0.95) == bent


def test_what_bends_first_is_told_of_each_contender() -> None:
    """The curve that bends at the smallest size is named; a contender that fails, with where and why."""
    small, large = (
        judged(row(), {"engine": [run(1, 1, memory)], "legacy": [run(1, cpu)]}, {"cheat": "out of memory"})
        for memory, cpu in ((1, 1), (100, 1))
    )
    curves = (Curve(figure=Figure.COST, label="CPU"), Curve(figure=Figure.MEMORY, label="memory"))
    engine, legacy, cheat = bends((Point(x=1, row=small), Point(x=1000, row=large)), curves, "size")
    assert "memory bends first, at 1000 (size): it rises to 100.0 times" in engine
    assert "nothing bends" in legacy
    assert "fails at 1: out of memory" in cheat


def test_a_missed_goal_is_explained_with_figures_of_the_run() -> None:
    """The paragraph names the row; without a missed goal, or a known reason, there is none."""
    whole = results(quick=False)

    def told(row: RowResult) -> str:
        return limits_text(replace(whole, rows=(row,)))

    missed = replace(result(), name="small-1", title="Small files")
    assert told(missed).count("Small files: ") == 1
    reached = replace(missed, goals=tuple(goal for goal in missed.goals if goal.reached))
    assert told(reached) == told(replace(missed, name="other")) == ""
