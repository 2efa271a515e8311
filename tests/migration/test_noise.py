"""What is called noise, and what a mismatch, is called so with a bounded risk, however often it is looked at."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from functools import cache
from statistics import median, quantiles

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration.model import NoiseSample
from migration.shadow import FieldVerdict, NoiseBook, noise_report
from migration.shadow.noise import ALPHA, MARGIN, MAX_FIELDS, mismatch_evidence, noise_evidence, verdict_on

COUNTS = st.integers(0, 3000)
FIRST_FIELD = math.log(2 / ALPHA)
"""Evidence (as a logarithm) that the first field needs."""

verdict = cache(verdict_on)


def ever_reached(evidence: Callable[[int, int], float], chance: float, cases: int) -> float:
    """The exact probability that the evidence is ever enough within so many one-sided cases.

    `chance` is that of the candidate being the side that differs. All paths are followed at once, by what they count.
    """
    alive, reached = {0: 1.0}, 0.0
    for case in range(1, cases + 1):
        following: dict[int, float] = {}
        for before, weight in alive.items():
            for count, share in ((before + 1, chance), (before, 1 - chance)):
                following[count] = following.get(count, 0.0) + weight * share
        alive = {}
        for count, weight in following.items():
            if evidence(count, case - count) >= FIRST_FIELD:
                reached += weight
            elif weight > 1e-15:
                alive[count] = weight
    return reached


def test_pure_noise_is_hardly_ever_called_a_mismatch() -> None:
    """Exactly: looking after every case, for a thousand cases, the first field's risk stays below its part of alpha."""
    risk = ever_reached(mismatch_evidence, 0.5, 1000)
    assert 0 < risk <= ALPHA / 2


def test_a_mismatch_is_hardly_ever_called_noise() -> None:
    """Exactly: a candidate that differs `MARGIN` times as often as legacy from itself is rarely called noise."""
    chance = MARGIN / (1 + MARGIN)  # of being the one that differs, where both never do
    risk = ever_reached(lambda candidate, legacy: noise_evidence(candidate, legacy, 0), chance, 1000)
    assert 0 < risk <= ALPHA / 2


def drawn(chance: random.Random, rate: float, effect: float = 0.0) -> tuple[bool, bool]:
    """Whether the candidate, and the second run of legacy, differ from the first run.

    A run shows an unusual value with probability `rate`, the candidate also a wrong one with probability `effect`.
    """
    first, candidate, second = (chance.random() < rate for _ in range(3))
    return candidate is not first or chance.random() < effect, second is not first


@pytest.mark.parametrize("rate", [0.001, 0.01, 0.1, 0.5])
def test_noise_at_any_rate_raises_no_alarm(rate: float) -> None:
    """A thousand fields of pure noise, looked at after each of 400 samples: no more than alpha ever are a mismatch."""
    chance = random.Random(1)
    alarms = sum(FieldVerdict.MISMATCH in verdicts(chance, rate, 0.0, 400) for _ in range(1000))
    assert alarms <= 1000 * ALPHA


def verdicts(chance: random.Random, rate: float, effect: float, samples: int) -> list[FieldVerdict]:
    """What is said of one field after each sample."""
    candidate_only = legacy_only = both = 0
    said: list[FieldVerdict] = []
    for _ in range(samples):
        candidate, legacy = drawn(chance, rate, effect)
        candidate_only += candidate and not legacy
        legacy_only += legacy and not candidate
        both += candidate and legacy
        said.append(verdict(1, candidate_only, legacy_only, both))
    return said


def ninetieth(claim: FieldVerdict, runs: list[list[FieldVerdict]], what: str) -> float:
    """How many samples nine of ten runs need until the claim is made; prints it, with the median."""
    needed = [run.index(claim) + 1 if claim in run else len(run) for run in runs]
    share = quantiles(needed, n=10)[-1]
    print(f"{what}: {claim} after {median(needed):.0f} samples, 90 % within {share:.0f}")  # noqa: T201  # for a reader
    return share


@pytest.mark.parametrize(
    ("rate", "effect", "within"), [(0.0, 1.0, 20), (0.1, 1.0, 40), (0.1, 0.5, 80), (0.5, 1.0, 60), (0.1, 0.1, 1500)]
)
def test_a_difference_on_top_of_noise_is_found(rate: float, effect: float, within: int) -> None:
    """Nine of ten times within so many samples, and it is hardly ever called noise before."""
    chance = random.Random(2)
    runs = [verdicts(chance, rate, effect, 2 * within) for _ in range(200)]
    assert ninetieth(FieldVerdict.MISMATCH, runs, f"noise {rate:.0%}, effect {effect:.0%}") <= within
    assert sum(FieldVerdict.NOISE in run for run in runs) <= 200 * max(ALPHA, 0.0 if effect > rate else 1.0)


@pytest.mark.parametrize(("rate", "within"), [(0.5, 250), (0.1, 500)])
def test_noise_is_recognised(rate: float, within: int) -> None:
    """What differs as often on both sides is called noise, nine of ten times within so many samples."""
    chance = random.Random(3)
    runs = [verdicts(chance, rate, 0.0, 3 * within) for _ in range(200)]
    assert ninetieth(FieldVerdict.NOISE, runs, f"noise {rate:.0%}") <= within


def test_what_always_differs_is_noise_soon() -> None:
    """A clock or a random id, different in every run, is noise after a dozen samples."""
    said = [verdict_on(1, 0, 0, both) for both in range(20)]
    assert said.index(FieldVerdict.NOISE) == 11


def test_what_never_differs_in_legacy_is_a_mismatch_soon() -> None:
    """A field in which only the candidate differs, always, needs ten samples."""
    said = [verdict_on(1, candidate, 0, 0) for candidate in range(20)]
    assert said.index(FieldVerdict.MISMATCH) == 10


@given(candidate=COUNTS, legacy=COUNTS, both=COUNTS, place=st.integers(1, MAX_FIELDS))
def test_more_differences_of_the_candidate_never_speak_for_it(
    candidate: int, legacy: int, both: int, place: int
) -> None:
    """One more difference of the candidate alone never ends a mismatch, and never makes noise of anything."""
    before, after = verdict_on(place, candidate, legacy, both), verdict_on(place, candidate + 1, legacy, both)
    if before is FieldVerdict.MISMATCH:
        assert after is FieldVerdict.MISMATCH
    if after is FieldVerdict.NOISE:
        assert before is FieldVerdict.NOISE


@given(place=st.integers(1, MAX_FIELDS))
def test_later_fields_need_more(place: int) -> None:
    """All fields of a migration share one alpha."""
    assert sum(1 / (each * (each + 1)) for each in range(1, place + 1)) < 1
    needed = next(count for count in range(100) if verdict_on(place, count, 0, 0) is FieldVerdict.MISMATCH)
    assert 10 <= needed <= 26


SAMPLES = st.lists(
    st.builds(
        lambda candidate, legacy: NoiseSample(candidate=tuple(candidate), legacy=tuple(legacy)),
        st.lists(st.sampled_from("abcd"), unique=True),
        st.lists(st.sampled_from("abcd"), unique=True),
    ),
    max_size=50,
)


@given(samples=SAMPLES)
def test_the_state_follows_from_the_samples(samples: list[NoiseSample]) -> None:
    """Given the same samples, a book in a new process says what the old one said."""
    book = NoiseBook()
    for sample in samples:
        book.learn("m", "f", sample)
    assert noise_report("m", [("f", sample) for sample in samples]) == book.report("m")
    assert book.report("m").samples == len(samples)
    for found in book.report("m").fields:
        assert found.candidate_only + found.both == sum(found.field in sample.candidate for sample in samples)
        assert found.legacy_only + found.both == sum(found.field in sample.legacy for sample in samples)


def test_fields_are_bounded_and_the_rest_is_counted() -> None:
    """Beyond two hundred fields none is followed or noise, and the report says how often one differed."""
    book = NoiseBook()
    names = tuple(f"f{number:03}" for number in range(MAX_FIELDS + 3))
    for _ in range(100):
        book.learn("m", "f", NoiseSample(candidate=names, legacy=names))
    report = book.report("m")
    assert (len(report.fields), report.untracked) == (MAX_FIELDS, 300)
    assert book.noisy_fields("m", "f") == frozenset(names[:MAX_FIELDS])


def test_functions_and_migrations_are_kept_apart() -> None:
    """What is noise in one function's result says nothing about another's field of the same name."""
    book = NoiseBook()
    for _ in range(20):
        book.learn("m", "f", NoiseSample(candidate=("x",), legacy=("x",)))
    assert book.noisy_fields("m", "f") == {"x"}
    assert book.noisy_fields("m", "g") == book.noisy_fields("n", "f") == frozenset()
