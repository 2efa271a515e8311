"""Bounds that hold at every moment."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration.guard import CallTally
from migration.rollout import harm_bound, rate_bounds, ratio_evidence


@given(calls=st.integers(1, 20_000), share=st.floats(0, 1))
def test_the_observed_rate_lies_inside_its_bounds(calls: int, share: float) -> None:
    """The bounds surround what was seen, and stay between 0 and 1."""
    tally = CallTally(calls=calls, bad=round(calls * share))
    low, high = rate_bounds(tally, alpha=0.05)
    assert 0.0 <= low <= tally.bad / calls <= high <= 1.0


def test_more_calls_mean_narrower_bounds() -> None:
    """At the same observed rate the bounds close in as calls come in."""
    widths = []
    for calls in (10, 100, 1000, 10_000, 100_000):
        low, high = rate_bounds(CallTally(calls=calls, bad=calls // 50), alpha=0.05)
        widths.append(high - low)
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 0.004


def test_the_true_rate_is_hardly_ever_outside() -> None:
    """Looked at after every call, the bounds ever lose the true rate in at most 5 of 100 runs."""
    source = random.Random(11)
    lost = 0
    for _ in range(300):
        bad = 0
        for calls in range(1, 1001):
            bad += source.random() < 0.02
            if calls % 20 == 0:
                low, high = rate_bounds(CallTally(calls=calls, bad=bad), alpha=0.05)
                if not low <= 0.02 <= high:
                    lost += 1
                    break
    assert lost <= 15


def test_without_calls_of_both_sides_nothing_passes() -> None:
    """Missing data is the worst that can be: harm of up to everything."""
    seen = CallTally(calls=1000, bad=0)
    assert harm_bound(CallTally(), seen, alpha=0.05) == 1.0
    assert harm_bound(seen, CallTally(), alpha=0.05) == 1.0


def test_harm_is_bounded_by_what_was_seen() -> None:
    """Equal sides come under a margin of two points after some thousand calls; a worse candidate never does."""
    assert harm_bound(CallTally(5000, 50), CallTally(5000, 50), alpha=0.05) < 0.02
    assert harm_bound(CallTally(5000, 50), CallTally(100, 1), alpha=0.05) > 0.02
    assert harm_bound(CallTally(50_000, 500), CallTally(50_000, 2000), alpha=0.05) > 0.02


@pytest.mark.parametrize("counts", [(5000, 5000), (9900, 100), (47, 3)])
def test_fair_shares_are_no_evidence(counts: tuple[int, int]) -> None:
    """Calls that are shared out as intended give no evidence of anything else."""
    total = sum(counts)
    assert ratio_evidence([(count, count / total) for count in counts]) < 1.0


def test_wrong_shares_are_found() -> None:
    """A candidate that gets twice its share is found after some hundred calls, one that gets calls at 0 % at once."""
    assert ratio_evidence([(800, 0.9), (200, 0.1)]) > 100
    assert ratio_evidence([(10, 1.0), (1, 0.0)]) == float("inf")
    assert ratio_evidence([(10, 1.0), (0, 0.0)]) == pytest.approx(1.0)


def test_the_published_implementation_agrees() -> None:
    """`savvi`, which its authors' readers use, computes the same evidence from the same counts."""
    numpy = pytest.importorskip("numpy")
    savvi = pytest.importorskip("savvi.multinomial")
    source = random.Random(3)
    for share in (0.1, 0.5):
        peer = savvi.Multinomial(0.01, numpy.array([1 - share, share]), k=100)
        counts = [0, 0]
        for _ in range(200):
            arm = int(source.random() < 1.5 * share)
            counts[arm] += 1
            peer.update(numpy.array([1 - arm, arm]))
        ours = ratio_evidence([(counts[0], 1 - share), (counts[1], share)])
        assert ours == pytest.approx(float(peer.odds), rel=1e-6)
