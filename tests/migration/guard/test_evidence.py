"""All signals together."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration.guard.evidence import KEPT_CALLS, WEIGHTS, CandidateEvidence, Trail, replay_evidence
from migration.guard.model import Action, BadCall, Signal
from tests.migration.guard.making import bad

calls = st.builds(
    bad,
    on_candidate=st.booleans(),
    probability=st.sampled_from([0.0, 0.01, 0.1, 0.5, 1.0]),
    kind=st.sampled_from(["timeout", "rejected", "unknown", None]),
    signals=st.sets(st.sampled_from(list(Signal)), min_size=1),
)


def test_the_weights_make_a_mean() -> None:
    """The weights of the signals sum to 1, so the whole is as trustworthy as its parts."""
    assert sum(WEIGHTS.values()) == pytest.approx(1.0)
    assert set(WEIGHTS) == set(Signal)


def test_nothing_seen_is_no_evidence() -> None:
    """Before the first bad call the evidence stands at 1 and calls for nothing."""
    assert CandidateEvidence().total == pytest.approx(1.0)
    assert CandidateEvidence().action is Action.NONE


@given(st.lists(calls, max_size=80))
def test_evidence_survives_being_written_down(seen: list[BadCall]) -> None:
    """Evidence that went through JSON goes on as if it had never left."""
    evidence = CandidateEvidence()
    for call in seen:
        evidence.add(call)
    again = CandidateEvidence.restored(json.loads(json.dumps(evidence.state())))
    assert again.total == evidence.total
    for each in (evidence, again):
        each.add(bad(on_candidate=True, probability=0.1, kind="odd"))
    assert again.total == evidence.total
    assert again.by_signal() == evidence.by_signal()


def test_evidence_mounts_from_freeze_to_rollback() -> None:
    """Failures on the candidate alone first freeze promotion and then roll back; failures of both sides do neither."""
    evidence, shared = CandidateEvidence(), CandidateEvidence()
    actions = []
    for _ in range(20):
        evidence.add(bad(on_candidate=True, probability=0.5))
        actions.append(evidence.action)
        shared.add(bad(on_candidate=False, probability=0.5))
        shared.add(bad(on_candidate=True, probability=0.5))
    assert actions == sorted(actions)
    assert actions[-1] is Action.ROLLBACK
    assert Action.FREEZE in actions
    assert shared.action is Action.NONE


@given(st.lists(calls, min_size=1, max_size=30))
def test_a_trail_leads_to_the_same_evidence(seen: list[BadCall]) -> None:
    """Going the trail again from its start reaches the very evidence that was decided upon, step by step."""
    trail = Trail()
    totals = [trail.evidence.total]
    for call in seen:
        trail.add(call)
        totals.append(trail.evidence.total)
    assert replay_evidence(trail.start, trail.calls) == totals


def test_a_long_trail_keeps_its_end() -> None:
    """Of many bad calls the latest are kept one by one, and what the others said is kept as their sum."""
    trail = Trail()
    for number in range(KEPT_CALLS + 500):
        trail.add(bad(on_candidate=number % 7 == 0, probability=0.1))
    assert len(trail.calls) == KEPT_CALLS
    assert replay_evidence(trail.start, trail.calls)[-1] == pytest.approx(trail.evidence.total, rel=1e-9)
