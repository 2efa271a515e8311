"""Learns by sequential tests in which fields legacy differs from itself.

On some calls legacy runs twice. For each field it is counted how often the candidate, and how often the second run of
legacy, differed from the first. If a field is pure noise, both are equally likely to differ, so that each makes up half
of the cases in which exactly one of them does. Two claims gather evidence against that:

- a *mismatch*: the candidate differs more often. Lindon and Malek's conditional test (arXiv:2011.03567) at p = 1/2.
- *noise*: legacy differs from itself at least half as often as the candidate differs from it. A bet on it.

Both are e-processes: while the claim is false, the expected evidence does not grow, so the probability that it ever
reaches 1/a is at most a (Ville), however often it is looked at. Without either claim a field is undecided.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from migration.model.model import NoiseSample

ALPHA = 0.01
"""Probability that any field of a migration is ever wrongly called a mismatch; the same for noise."""

MAX_FIELDS = 200
"""Fields of one migration that are followed; further ones are counted, and never called noise."""

RELATIVE_RISKS = (1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0)
"""How much more often the candidate might differ; the evidence is the mean over these."""

MARGIN = 2.0
"""From this ratio on, between how often the candidate and legacy itself differ, a field is more than noise."""

STAKES = (0.1, 0.25, 0.5, 0.9)
"""Shares of the evidence that are bet on noise; the evidence is the mean over these."""


class FieldVerdict(StrEnum):
    """What the samples say of one field."""

    NOISE = "noise"  # legacy differs from itself about as often
    MISMATCH = "mismatch"  # the candidate differs more often than legacy from itself
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldNoise:
    """What is known of one field.

    Attributes:
        function: qualified name of the legacy function.
        field: the field's path.
        verdict: what the counts amount to.
        candidate_only: samples in which only the candidate differed from legacy.
        legacy_only: samples in which only the second run of legacy did.
        both: samples in which both did.
    """

    function: str
    field: str
    verdict: FieldVerdict
    candidate_only: int
    legacy_only: int
    both: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseReport:
    """What is known of a migration's noise.

    Attributes:
        samples: calls for which legacy ran twice.
        fields: the fields that ever differed, in the order in which they were first seen to.
        untracked: how often a field differed that is not followed because `MAX_FIELDS` are.
    """

    migration: str
    samples: int = 0
    fields: tuple[FieldNoise, ...] = ()
    untracked: int = 0


@dataclass(slots=True)
class _Counts:
    candidate_only: int = 0
    legacy_only: int = 0
    both: int = 0


@dataclass(slots=True)
class _Learned:
    """What the samples of one migration have shown, by function and field."""

    samples: int = 0
    fields: dict[tuple[str, str], _Counts] = field(default_factory=dict)
    untracked: int = 0

    def counts(self, key: tuple[str, str]) -> _Counts | None:
        if key not in self.fields and len(self.fields) == MAX_FIELDS:
            self.untracked += 1
            return None
        return self.fields.setdefault(key, _Counts())


class NoiseBook:
    """Collects the samples of all migrations. One thread at a time may add, any thread may read.

    Its state follows from the samples alone, in their order: those in a ledger restore it.
    """

    def __init__(self) -> None:
        self._learned: dict[str, _Learned] = {}

    def learn(self, migration: str, function: str, sample: NoiseSample) -> None:
        """Take one sample into account."""
        candidate, legacy = set(sample.candidate), set(sample.legacy)
        learned = self._learned.setdefault(migration, _Learned())
        learned.samples += 1
        for name in sorted(candidate | legacy):
            counts = learned.counts((function, name))
            if counts is not None:
                counts.candidate_only += name not in legacy
                counts.legacy_only += name not in candidate
                counts.both += name in candidate and name in legacy

    def noisy_fields(self, migration: str, function: str) -> frozenset[str]:
        """The fields that are known to be noise."""
        return frozenset(
            found.field
            for found in self.report(migration).fields
            if found.function == function and found.verdict is FieldVerdict.NOISE
        )

    def report(self, migration: str) -> NoiseReport:
        """What is known of a migration."""
        learned = self._learned.get(migration, _Learned())
        return NoiseReport(
            migration=migration,
            samples=learned.samples,
            fields=tuple(
                _found(place, function, name, counts)
                for place, ((function, name), counts) in enumerate(list(learned.fields.items()), start=1)
            ),
            untracked=learned.untracked,
        )


def _found(place: int, function: str, name: str, counts: _Counts) -> FieldNoise:
    return FieldNoise(
        function=function,
        field=name,
        verdict=verdict_on(place, counts.candidate_only, counts.legacy_only, counts.both),
        candidate_only=counts.candidate_only,
        legacy_only=counts.legacy_only,
        both=counts.both,
    )


def noise_report(migration: str, samples: Iterable[tuple[str, NoiseSample]]) -> NoiseReport:
    """What the kept samples of a migration say; for `shim mismatches --noise`.

    Args:
        migration: its name.
        samples: each with the function that was called, oldest first.
    """
    book = NoiseBook()
    for function, sample in samples:
        book.learn(migration, function, sample)
    return book.report(migration)


def verdict_on(place: int, candidate_only: int, legacy_only: int, both: int) -> FieldVerdict:
    """What the counts of a field amount to; `MISMATCH` if both claims are proven.

    Args:
        place: the number of the field in its migration, from 1. Its part of `ALPHA` is
            `ALPHA / (place * (place + 1))`; these add up to at most `ALPHA`.
        candidate_only: samples in which only the candidate differed from legacy.
        legacy_only: samples in which only the second run of legacy did.
        both: samples in which both did.
    """
    needed = math.log(place * (place + 1) / ALPHA)
    if mismatch_evidence(candidate_only, legacy_only) >= needed:
        return FieldVerdict.MISMATCH
    if noise_evidence(candidate_only, legacy_only, both) >= needed:
        return FieldVerdict.NOISE
    return FieldVerdict.UNDECIDED


def mismatch_evidence(candidate_only: int, legacy_only: int) -> float:
    """Logarithm of the evidence that the candidate differs more often than legacy from itself."""
    return _log_mean(
        candidate_only * math.log(risk) - (candidate_only + legacy_only) * math.log((risk + 1) / 2)
        for risk in RELATIVE_RISKS
    )


def noise_evidence(candidate_only: int, legacy_only: int, both: int) -> float:
    """Logarithm of the evidence that the candidate differs less than `MARGIN` times as often as legacy from itself.

    The bet on a sample is `1 - stake * (candidate differs - MARGIN * legacy differs)`: if the candidate did differ that
    often, it would on average win nothing.
    """
    return _log_mean(
        candidate_only * math.log1p(-stake)
        + legacy_only * math.log1p(stake * MARGIN)
        + both * math.log1p(stake * (MARGIN - 1))
        for stake in STAKES
    )


def _log_mean(logarithms: Iterable[float]) -> float:
    """Logarithm of the mean of the numbers with these logarithms."""
    terms = tuple(logarithms)
    largest = max(terms)
    return largest + math.log(sum(math.exp(term - largest) for term in terms) / len(terms))
