"""The judge: which rule is met when, and what each calls for."""

from __future__ import annotations

import pytest

from migration.guard import Action, BadCall, Judge, Policy, Rule, Ruling, Signal, replay_evidence
from tests.migration.guard.making import bad, finished

NOTHING = {rule.value: Action.NONE for rule in Rule}


def only(rule: Rule, action: Action = Action.FREEZE) -> Policy:
    """A policy in which one rule calls for anything."""
    return Policy(**{**NOTHING, rule.value: action})


def judged(judge: Judge, *calls: BadCall) -> list[Ruling]:
    """The rulings on these bad calls."""
    rulings = [judge.ruling(judge.take_in(call), at=0.0, last=call) for call in calls]
    return [ruling for ruling in rulings if ruling is not None]


def rates(judge: Judge, *, legacy: int, candidate: int, of: int, kind: str = "rejected") -> list[Rule]:
    """The rules met while both sides get so many calls, of which so many fail."""
    rules = []
    for number in range(of):
        for on_candidate, failures in ((False, legacy), (True, candidate)):
            failed = number * failures // of != (number + 1) * failures // of
            ruling = judge.finished(finished(on_candidate=on_candidate, kind=kind if failed else None))
            rules += [ruling.rule] if ruling else []
    return rules


def test_a_failing_candidate_is_frozen_first_and_then_rolled_back() -> None:
    """The first failure of a new kind freezes, considerable evidence does, overwhelming evidence rolls back."""
    rulings = judged(Judge("m"), *[bad(probability=0.5, kind="odd")] * 40)
    assert [(ruling.rule, ruling.action) for ruling in rulings] == [
        (Rule.NEW_KIND, Action.FREEZE),
        (Rule.SUSPICION, Action.FREEZE),
        (Rule.EVIDENCE, Action.ROLLBACK),
    ]


def test_a_lost_file_is_enough() -> None:
    """One failed integrity check on the candidate rolls back; on legacy it does nothing."""
    assert not judged(Judge("m"), bad(on_candidate=False, kind="integrity"))
    (ruling,) = judged(Judge("m"), bad(kind="integrity"))
    assert (ruling.rule, ruling.action) == (Rule.INTEGRITY, Action.ROLLBACK)


@pytest.mark.parametrize(("kind", "rule"), [("rejected", Rule.ERROR_RATE), ("timeout", Rule.TIMEOUT_RATE)])
def test_more_than_five_points_meet_the_plain_rule(kind: str, rule: Rule) -> None:
    """A candidate that fails, or times out, 8 points more often meets the rule once; 4 points more do not."""
    assert rates(Judge("m", policy=only(rule)), legacy=2, candidate=10, of=100, kind=kind) == [rule]
    assert not rates(Judge("m", policy=only(rule)), legacy=2, candidate=6, of=100, kind=kind)


def test_a_caller_who_gives_up_counts_if_legacy_would_long_have_ended() -> None:
    """It is a timeout of the side that it waited for, of no kind of its own; who leaves at once says nothing."""
    judge = Judge("m")
    for _ in range(120):
        judge.finished(finished(probability=0.0))
    before = judge.rates.errors
    for on_candidate in (False, True):
        assert judge.finished(finished(on_candidate=on_candidate, seconds=0.05, given_up=True)) is None
    assert (judge.evidence.total, judge.rates.errors) == (1.0, before)
    rulings = [judge.finished(finished(on_candidate=True, seconds=3.0, given_up=True)) for _ in range(40)]
    assert [ruling.rule for ruling in rulings if ruling] == [Rule.SUSPICION, Rule.EVIDENCE]
    assert judge.trail.last.signals == {Signal.ERROR, Signal.TIMEOUT, Signal.LATENCY}
    judge.finished(finished(seconds=9.0, given_up=True))
    judge.finished(finished(seconds=0.2))
    assert judge.trail.last.seconds == 0.2, "how long legacy takes is not known from a call without an end"


def test_rates_are_compared_from_a_hundred_calls_of_each_side_on() -> None:
    """With 99 calls of a side nothing is compared, however bad it is."""
    judge = Judge("m", policy=only(Rule.ERROR_RATE))
    assert not rates(judge, legacy=0, candidate=99, of=99)
    assert rates(judge, legacy=0, candidate=1, of=1) == [Rule.ERROR_RATE]


def test_calls_of_another_share_are_not_compared() -> None:
    """When the share changes, the plain rates begin again: incidents of an earlier stage say nothing of this one."""
    judge = Judge("m", policy=only(Rule.ERROR_RATE))
    rates(judge, legacy=0, candidate=60, of=90)
    for _ in range(200):
        assert judge.finished(finished(on_candidate=True, probability=0.9, kind="rejected")) is None
    assert judge.rates.errors[1].calls == 200


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("rule", Rule)
def test_each_rule_does_what_the_policy_says(rule: Rule, action: Action) -> None:
    """Every rule can be set to nothing, freeze and rollback, and then does just that."""
    ruling = Judge("m", policy=only(rule, action)).ruling([rule], at=1.0, last=bad())
    if action is Action.NONE:
        assert ruling is None
    else:
        assert ruling is not None
        assert (ruling.rule, ruling.action) == (rule, action)
        assert ruling.sentence.startswith("m ")


def test_the_gravest_of_several_rules_speaks() -> None:
    """Of rules that are met at once, the one that calls for most is the reason."""
    ruling = Judge("m").ruling([Rule.NEW_KIND, Rule.EVIDENCE, Rule.ERROR_RATE], at=0.0, last=bad())
    assert ruling is not None
    assert ruling.rule is Rule.EVIDENCE


def test_a_ruling_can_be_reached_again() -> None:
    """The calls of a ruling, taken in again from its start, lead to the evidence that it names."""
    *_, ruling = judged(Judge("m"), *[bad(on_candidate=number % 3 > 0, probability=0.1) for number in range(60)])
    assert replay_evidence(ruling.start, ruling.calls)[-1] == ruling.numbers["evidence"]


@pytest.mark.parametrize(("probability", "at_most"), [(0.01, 2), (0.1, 4), (0.5, 11)])
def test_a_new_kind_of_failure_rolls_back_after_few_sightings(probability: float, at_most: int) -> None:
    """Where nothing else fails, so many failures of one kind on the candidate alone are enough to roll back."""
    sightings = [bad(probability=probability, kind="odd")] * at_most
    assert judged(Judge("m"), *sightings)[-1].rule is Rule.EVIDENCE


@pytest.mark.parametrize(("probability", "at_most"), [(0.01, 3), (0.1, 5), (0.5, 17)])
def test_a_new_kind_stands_out_among_other_failures(probability: float, at_most: int) -> None:
    """Where both sides fail often in two other ways, a kind that legacy never shows needs few more sightings."""
    judge = Judge("m")
    share = round(1 / probability)
    for number in range(40 * share):
        kind = "rejected" if number // share % 2 else "rate_limited"
        judged(judge, bad(on_candidate=number % share == share - 1, probability=probability, kind=kind))
    rulings = judged(judge, *[bad(probability=probability, kind="odd")] * at_most)
    assert rulings[-1].rule is Rule.EVIDENCE


def test_slow_calls_are_evidence() -> None:
    """Calls that succeed, but take far longer than legacy ever did, roll the candidate back."""
    judge = Judge("m")
    for number in range(200):
        judge.finished(finished(probability=0.0, seconds=0.1 + 0.001 * (number % 50)))
    rulings = [judge.finished(finished(on_candidate=True, seconds=1.0)) for _ in range(20)]
    last = [ruling for ruling in rulings if ruling][-1]
    assert (last.rule, last.numbers["strongest"]) == (Rule.EVIDENCE, Signal.LATENCY)


def test_good_calls_decide_nothing() -> None:
    """Whatever goes well leads to no ruling and leaves no evidence."""
    judge = Judge("m")
    assert not any(judge.finished(finished(on_candidate=number % 2 > 0)) for number in range(500))
    assert judge.evidence.total == pytest.approx(1.0)
