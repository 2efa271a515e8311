"""Why the evidence can be trusted: it is a fair game as long as there is no regression."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from savvi.multinomial import Multinomial  # type: ignore[import-untyped]  # it ships no types
from scipy.integrate import quad  # type: ignore[import-untyped]  # it ships no types
from scipy.stats import beta  # type: ignore[import-untyped]  # it ships no types

from migration.guard import BadCall, CandidateEvidence, Signal
from migration.guard.evidence import ROLLBACK_AT, STAKED_UP_TO, LateChangeTest, log_ratio
from tests.migration.guard.making import bad

shares = st.sampled_from([0.001, 0.01, 0.1, 0.5, 0.98])
calls = st.builds(
    bad,
    on_candidate=st.booleans(),
    probability=shares,
    kind=st.sampled_from(["timeout", "rejected", "unknown", None]),
    signals=st.sets(st.sampled_from(list(Signal)), min_size=1),
)


@given(seen=st.lists(calls, max_size=40), call=calls)
def test_one_more_bad_call_changes_nothing_on_average(seen: list[BadCall], call: BadCall) -> None:
    """Whatever was seen and however the next call goes badly: with no regression the expected evidence stays as it is.

    That is all that the promise needs. A fair game that begins at 1 ever reaches 100 in at most 1 of 100 cases.
    """
    here, there = CandidateEvidence(), CandidateEvidence()
    for each in seen:
        here.add(each)
        there.add(each)
    before = here.total
    here.add(replace(call, on_candidate=True))
    there.add(replace(call, on_candidate=False))
    mean = call.probability * here.total + (1 - call.probability) * there.total
    assert mean == pytest.approx(before, rel=1e-9)


@given(st.lists(calls, max_size=200))
def test_no_more_is_staked_than_a_win_needs(seen: list[BadCall]) -> None:
    """Evidence never goes far beyond what is enough, and never becomes nothing."""
    evidence = CandidateEvidence()
    for call in seen:
        evidence.add(call)
        assert 0.0 < evidence.total <= STAKED_UP_TO * (1 + 1e-9)


@given(start=shares, known=st.integers(0, 5))
def test_kinds_that_both_sides_show_are_a_fair_game_too(start: float, known: int) -> None:
    """The first failure of a new kind may be on either side: what the candidate gains there, legacy takes."""
    here, there = CandidateEvidence(), CandidateEvidence()
    for number in range(known):
        for evidence in (here, there):
            evidence.add(bad(on_candidate=False, probability=start, kind=f"kind {number}"))
    before = here.strangers.log
    here.add(bad(on_candidate=True, probability=start, kind="odd"))
    there.add(bad(on_candidate=False, probability=start, kind="odd"))
    mean = start * np.exp(here.strangers.log) + (1 - start) * np.exp(there.strangers.log)
    assert mean == pytest.approx(np.exp(before), rel=1e-9)


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_the_published_implementation_agrees(share: float) -> None:
    """`savvi` bets on all relative risks at once, by a beta distribution: so do ours, if we sum them up likewise."""
    source = np.random.default_rng(3)
    labels = source.random(60) < 2 * share / (1 + share)
    peer = Multinomial(0.01, np.array([1 - share, share]), k=100)
    for label in labels:
        peer.update(np.array([not label, label], dtype=int))
    prior = beta(100 * share, 100 * (1 - share))

    def weighed(among_bad: float) -> float:
        """Density of one share of the candidate among bad calls, times the likelihood ratio of the risk it means."""
        risk = among_bad / (1 - among_bad) * (1 - share) / share
        logs = sum(log_ratio(risk, on_candidate=bool(label), probability=share) for label in labels)
        return float(prior.pdf(among_bad) * np.exp(logs))

    ours, _ = quad(weighed, 1e-9, 1 - 1e-9, limit=200)
    assert ours == pytest.approx(float(peer.odds), rel=1e-5)


@given(seen=st.lists(st.tuples(st.booleans(), shares), max_size=60), share=shares)
def test_spreading_anew_is_a_fair_game_too(seen: list[tuple[bool, float]], share: float) -> None:
    """The process for candidates that turn bad late neither gains nor loses on average, whatever it has seen."""
    here, there = LateChangeTest(), LateChangeTest()
    for process in (here, there):
        for on_candidate, probability in seen:
            process.add(on_candidate=on_candidate, probability=probability)
    before = here.log
    here.add(on_candidate=True, probability=share)
    there.add(on_candidate=False, probability=share)
    mean = share * np.exp(here.log - before) + (1 - share) * np.exp(there.log - before)
    assert mean == pytest.approx(1.0, rel=1e-9)
    assert sum(here.shares) == pytest.approx(1.0, rel=1e-9)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_a_long_good_time_is_forgiven(share: float) -> None:
    """After 2000 bad calls that were shared out fairly, some dozen failures on the candidate are enough."""
    source = np.random.default_rng(6)
    evidence = CandidateEvidence()
    for label in source.random(2000) < share:
        evidence.add(bad(on_candidate=bool(label), probability=share))
    needed = 0
    while evidence.total < ROLLBACK_AT:
        evidence.add(bad(on_candidate=True, probability=share))
        needed += 1
    assert needed <= 30
