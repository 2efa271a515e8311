"""How fast the guard finds what is there, in comparison with what is used elsewhere."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.migration.guard.worlds import NULL_WORLDS
from tests.migration.guard.worlds_detection import (
    ERRORS,
    OTHERS,
    SHARES,
    Case,
    detection,
    mismatches_until_rollback,
)
from tests.migration.guard.worlds_judging import JUDGES
from tests.migration.guard.worlds_tables import false_rollbacks

pytestmark = pytest.mark.thorough

ROLLOUTS = 120
NOISE = 1.3
"""So many rollouts tell a median to about a tenth, and a 90th percentile to about a seventh."""


@pytest.mark.parametrize("case", ERRORS, ids=lambda case: case.effect.name)
@pytest.mark.parametrize("share", SHARES)
def test_errors_are_found_after_few_uploads(case: Case, share: float, say: Callable[[str], None]) -> None:
    """All signals together need no more uploads of a failing candidate than the published test of errors alone."""
    found = detection(case, share, rollouts=ROLLOUTS)
    median, most = case.known[SHARES.index(share)]
    say(f"{found.words} uploads, published: {median} / {most}")
    assert found.quantile(0.5) <= max(median + 1, NOISE * median)
    assert found.quantile(0.9) <= max(most + 1, NOISE * most)


@pytest.mark.parametrize("case", OTHERS, ids=lambda case: case.effect.name)
def test_other_faults_are_found_as_well(case: Case, say: Callable[[str], None]) -> None:
    """Timeouts, new kinds of failure and slowness are found within some hundred uploads at 10 %."""
    found = detection(case, 0.1, rollouts=60)
    say(f"{found.words} uploads")
    assert found.quantile(0.9) <= 450


def test_a_candidate_that_does_something_else_is_found(say: Callable[[str], None]) -> None:
    """One that always differs is rolled back after some 15 comparisons with a second run of legacy."""
    found = mismatches_until_rollback(1.0, 0.01, rollouts=60)
    say(f"{found.words} comparisons")
    assert found.quantile(0.9) <= 18


def test_the_others_cry_wolf(say: Callable[[str], None]) -> None:
    """In a shared incident a threshold, and a test that is looked at all the time, roll back falsely."""
    incident = next(world for world in NULL_WORLDS if world.name == "shared incident")
    counts = dict(zip(JUDGES, false_rollbacks(incident, rollouts=40, judges=list(JUDGES)), strict=True))
    say(", ".join(f"{name} {count} of 40" for name, count in counts.items()))
    assert counts["guard"] <= 4
    assert counts["threshold"] >= 20
    assert counts["z-test"] > counts["guard"]
