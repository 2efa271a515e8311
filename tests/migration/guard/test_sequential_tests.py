"""The evidence of labels: the formula, its guarantee, and how fast it finds what is there."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration.guard.evidence import MAX_KINDS, RELATIVE_RISKS, NewKindTest, SequentialTest, log_mean

probabilities = st.floats(min_value=0.001, max_value=0.999)


@given(probability=probabilities)
def test_one_more_bad_call_changes_nothing_on_average(probability: float) -> None:
    """With no regression the expected evidence after one bad call is what it was: exactly 1 for each relative risk."""
    treated, untreated = SequentialTest(), SequentialTest()
    treated.add(on_candidate=True, probability=probability)
    untreated.add(on_candidate=False, probability=probability)
    for up, down in zip(treated.logs, untreated.logs, strict=True):
        assert probability * math.exp(up) + (1 - probability) * math.exp(down) == pytest.approx(1.0, rel=1e-12)


@given(labels=st.lists(st.tuples(st.booleans(), probabilities), max_size=60))
def test_the_evidence_is_the_formula(labels: list[tuple[bool, float]]) -> None:
    """The evidence is the mean, over the relative risks, of the products of r^A / (p r + 1 - p)."""
    process = SequentialTest()
    for on_candidate, probability in labels:
        process.add(on_candidate=on_candidate, probability=probability)
    products = [
        math.prod((risk if on_candidate else 1.0) / (p * risk + 1 - p) for on_candidate, p in labels)
        for risk in RELATIVE_RISKS
    ]
    assert math.exp(process.log) == pytest.approx(sum(products) / len(products), rel=1e-9)


@given(order=st.permutations([(True, 0.01), (False, 0.1), (True, 0.5), (False, 0.5), (True, 0.1)]))
def test_the_order_of_bad_calls_does_not_matter(order: list[tuple[bool, float]]) -> None:
    """Processes that see the same bad calls in another order reach the same evidence."""
    process, other = SequentialTest(), SequentialTest()
    for on_candidate, probability in order:
        process.add(on_candidate=on_candidate, probability=probability)
    for on_candidate, probability in sorted(order):
        other.add(on_candidate=on_candidate, probability=probability)
    assert process.log == pytest.approx(other.log, abs=1e-12)


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_nothing_is_learned_from_a_call_that_had_no_alternative(probability: float) -> None:
    """A share of 0 or 100 % leaves nothing to compare with: bad calls there are no evidence."""
    process = SequentialTest()
    process.add(on_candidate=probability == 1.0, probability=probability)
    assert process.log == pytest.approx(0.0)


@pytest.mark.parametrize(("probability", "needed"), [(0.01, 2), (0.1, 4), (0.5, 11)])
def test_a_new_kind_of_failure_is_enough_after_few_sightings(probability: float, needed: int) -> None:
    """Seen on the candidate alone, the first new kind reaches 1000 after 2 sightings at 1 %, 4 at 10 %, 11 at 50 %."""
    process = NewKindTest()
    sightings = 0
    while process.log < math.log(1000):
        process.add("odd", on_candidate=True, probability=probability)
        sightings += 1
    assert sightings == needed


def test_a_kind_that_legacy_shows_as_well_is_no_stranger() -> None:
    """Evidence from a kind of failure is void as soon as legacy shows it, and stays so."""
    process = NewKindTest()
    assert process.add("odd", on_candidate=True, probability=0.1)
    process.add("odd", on_candidate=True, probability=0.1)
    assert not process.add("odd", on_candidate=False, probability=0.1)
    assert not process.add("odd", on_candidate=True, probability=0.1)
    assert process.log == pytest.approx(math.log(0.5))


def test_a_flood_of_kinds_is_bounded() -> None:
    """More kinds than are watched change nothing, on either side."""
    process = NewKindTest()
    for number in range(3 * MAX_KINDS):
        process.add(f"candidate {number}", on_candidate=True, probability=0.5)
        process.add(f"legacy {number}", on_candidate=False, probability=0.5)
    assert len(process.found) == MAX_KINDS
    assert len(process.known) == MAX_KINDS


def test_without_a_regression_the_evidence_hardly_ever_reaches_a_hundred() -> None:
    """Of 2000 rollouts without a regression at most 1 % ever reach 100, although each bad call is looked at."""
    source = random.Random(7)
    alarms = 0
    for _ in range(2000):
        process = SequentialTest()
        for stage in (0.01, 0.1, 0.5):
            for _ in range(40):
                process.add(on_candidate=source.random() < stage, probability=stage)
                if process.log >= math.log(100):
                    alarms += 1
                    break
            else:
                continue
            break
    assert alarms <= 20


def test_the_mean_of_numbers_beyond_a_float_is_found() -> None:
    """The mean is taken of logarithms, so neither huge nor vanished evidence breaks it."""
    assert log_mean([5000.0, -math.inf], [0.5, 0.5]) == pytest.approx(5000.0 + math.log(0.5))
    assert log_mean([-math.inf, -math.inf], [0.5, 0.5]) == -math.inf
