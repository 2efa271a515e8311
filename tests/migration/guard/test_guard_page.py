"""The page about the guard says what the code does."""

from __future__ import annotations

from pathlib import Path

import pytest

from migration.guard import FREEZE_AT, ROLLBACK_AT, WEIGHTS, Policy, Rule, Signal
from migration.guard.evidence import RELATIVE_RISKS, SPREAD_AGAIN, STAKED_UP_TO
from tests.migration.guard.worlds import NULL_WORLDS, STAGES, STICKY_ROUTING

PAGE = (Path(__file__).parents[3] / "docs" / "guard.md").read_text(encoding="utf-8")
WORDS = " ".join(PAGE.split())


@pytest.mark.parametrize("rule", Rule)
def test_each_rule_and_its_default_stand_there(rule: Rule) -> None:
    """The table of rules knows every rule, and what it calls for by default."""
    (line,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{rule}` |")]
    assert line.endswith(f"| {Policy().action_for(rule).word} |")


@pytest.mark.parametrize("signal", Signal)
def test_each_signal_and_its_weight_stand_there(signal: Signal) -> None:
    """The table of signals knows every signal and how much it counts."""
    (line,) = [line for line in PAGE.splitlines() if line.startswith(f"| {signal} |")]
    assert line.endswith(f"| {WEIGHTS[signal]:.2f} |")


def test_the_figures_of_the_evidence_are_the_real_ones() -> None:
    """Thresholds, relative risks and the size of the worlds are those of the code."""
    for figure in (
        f"the evidence reaches {ROLLBACK_AT:.0f}",
        f"the evidence reaches {FREEZE_AT:.0f}",
        f"to reach {STAKED_UP_TO:.0f}",
        f"spreads 1/{1 / SPREAD_AGAIN:.0f}",
        f"({', '.join(f'{risk:g}' for risk in RELATIVE_RISKS)})",
        f"{sum(calls for _, calls in STAGES):,} calls in all",
        *(f"| {world.name} |" for world in (*NULL_WORLDS, STICKY_ROUTING)),
    ):
        assert figure in WORDS, figure
