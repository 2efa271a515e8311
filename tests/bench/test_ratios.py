"""The arithmetic."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.ratios import percentile, round_ratios, spread

FIGURES = st.lists(st.floats(0.001, 1e6), min_size=1, max_size=30)


def test_quartiles_of_a_known_row() -> None:
    """Quartiles lie between the neighbours, as a spreadsheet has them."""
    middle = spread([7.0, 1.0, 3.0, 5.0, 9.0])
    assert (middle.q1, middle.median, middle.q3) == (3.0, 5.0, 7.0)
    middle = spread([1.0, 2.0, 3.0, 4.0])
    assert (middle.q1, middle.median, middle.q3) == (1.75, 2.5, 3.25)


def test_one_figure_is_its_own_spread() -> None:
    """After one round there is nothing to spread."""
    middle = spread([4.0])
    assert (middle.q1, middle.median, middle.q3) == (4.0, 4.0, 4.0)


def test_of_nothing_there_is_no_median() -> None:
    """A row without runs does not get figures by accident."""
    with pytest.raises(ValueError, match="no figures"):
        spread([])
    with pytest.raises(ValueError, match="no figures"):
        percentile([], 99)


@given(FIGURES)
def test_a_spread_is_ordered_and_lies_within_the_figures(figures: list[float]) -> None:
    """Quartiles enclose the median, and nothing lies outside what was measured."""
    middle = spread(figures)
    assert min(figures) <= middle.q1 <= middle.median <= middle.q3 <= max(figures)
    assert middle.median == pytest.approx(statistics.median(figures))


@given(FIGURES, st.floats(1, 100))
def test_a_percentile_is_a_figure_that_enough_others_do_not_exceed(figures: list[float], percent: float) -> None:
    """It is the smallest such figure."""
    found = percentile(figures, percent)
    assert found in figures
    assert sum(figure <= found for figure in figures) >= len(figures) * percent / 100
    assert sum(figure < found for figure in figures) < len(figures) * percent / 100


@given(
    st.lists(st.tuples(st.floats(0.1, 10), st.floats(0.1, 10), st.floats(0.01, 100)), min_size=1, max_size=9),
)
def test_a_machine_that_drifts_changes_no_ratio(rounds: list[tuple[float, float, float]]) -> None:
    """If a whole round is slower by some factor, the ratios within it stay."""
    steady = {"a": [{"s": a} for a, _, _ in rounds], "b": [{"s": b} for _, b, _ in rounds]}
    drifting = {"a": [{"s": a * f} for a, _, f in rounds], "b": [{"s": b * f} for _, b, f in rounds]}
    assert round_ratios(drifting, "s", "a", ["b"]) == pytest.approx(round_ratios(steady, "s", "a", ["b"]))


def test_a_ratio_to_several_is_one_to_their_sum() -> None:
    """That is how a whole is held against its parts."""
    runs = {"whole": [{"s": 6.0}, {"s": 9.0}], "one": [{"s": 1.0}, {"s": 2.0}], "two": [{"s": 2.0}, {"s": 4.0}]}
    assert round_ratios(runs, "s", "whole", ["one", "two"]) == [2.0, 1.5]
    assert round_ratios(runs, "s", "whole") == [6.0, 9.0]
