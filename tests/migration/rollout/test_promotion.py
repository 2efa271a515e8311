"""The bound on the harm, on which promotion depends."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration.guard import CallTally
from migration.rollout import harm_bound
from tests.migration.guard.worlds_tables import uploads_to_pass

ALPHA = 0.05

tallies = st.integers(1, 5000).flatmap(lambda calls: st.builds(CallTally, st.just(calls), st.integers(0, calls)))


@given(legacy=tallies, candidate=tallies)
def test_what_was_seen_is_within_the_bound(legacy: CallTally, candidate: CallTally) -> None:
    """The harm that was seen never exceeds what is thought possible."""
    seen = candidate.bad / candidate.calls - legacy.bad / legacy.calls
    assert seen <= harm_bound(legacy, candidate, alpha=ALPHA) <= 1.0


@given(legacy=tallies, candidate=tallies)
def test_a_stricter_bound_is_higher(legacy: CallTally, candidate: CallTally) -> None:
    """Less willingness to be wrong means that more harm is thought possible."""
    assert harm_bound(legacy, candidate, alpha=0.01) >= harm_bound(legacy, candidate, alpha=0.1) - 1e-9


@pytest.mark.parametrize(("legacy_rate", "harm"), [(0.01, 0.0), (0.01, 0.02), (0.2, 0.05)])
def test_the_true_harm_is_hardly_ever_above_the_bound(
    legacy_rate: float, harm: float, say: Callable[[str], None]
) -> None:
    """Looked at all the way, the bound ever lies below the true harm in at most 5 of 100 runs."""
    source = np.random.default_rng(8)
    runs, lost = 200, 0
    for _ in range(runs):
        legacy = np.cumsum(source.random(4000) < legacy_rate)
        candidate = np.cumsum(source.random(4000) < legacy_rate + harm)
        lost += any(
            harm_bound(
                CallTally(calls, int(legacy[calls - 1])), CallTally(calls, int(candidate[calls - 1])), alpha=ALPHA
            )
            < harm
            for calls in range(50, 4001, 50)
        )
    say(f"harm of {harm:.0%}: {lost} of {runs} runs lost it")
    assert lost <= runs * ALPHA


def test_a_harmful_candidate_passes_no_margin() -> None:
    """One that fails two points more often hardly ever comes below a margin of one point, however long one waits."""
    source = np.random.default_rng(9)
    passed = 0
    for _ in range(100):
        bad, worse = np.cumsum(source.random(20_000) < 0.01), np.cumsum(source.random(20_000) < 0.03)
        passed += any(
            harm_bound(CallTally(calls, int(bad[calls - 1])), CallTally(calls, int(worse[calls - 1])), alpha=ALPHA)
            < 0.01
            for calls in range(100, 20_001, 500)
        )
    assert passed <= 5


@pytest.mark.parametrize(("margin", "at_most"), [(0.01, 4000), (0.02, 1000)])
def test_a_good_candidate_passes(margin: float, at_most: int, say: Callable[[str], None]) -> None:
    """An equally good candidate comes below a margin within some thousand uploads at 10 %, if half a percent fails."""
    needed = uploads_to_pass(0.005, 0.1, margin, runs=30)
    say(f"{needed:,.0f} uploads of the candidate for a margin of {margin:.0%}")
    assert needed <= at_most
