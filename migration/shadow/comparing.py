"""Makes the comparison of a call out of what both sides did when they were run again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from migration.model.model import Comparison, Difference, NoiseSample, Side, Verdict
from migration.running.observers import Observers
from migration.shadow.compare import MAX_DIFFERENCES, differences, outcome_facts, request_facts
from migration.shadow.facts import Facts
from migration.shadow.judge import judged, with_rules_applied
from migration.shadow.noise import NoiseBook
from migration.shadow.shadow import Observation, Shadow


class Sides:
    """What each side did; legacy once more if it ran twice."""

    def __init__(self) -> None:
        self._runs: dict[Side, list[Observation]] = {side: [] for side in Side}

    def add(self, side: Side, run: Observation) -> None:
        """Add a run."""
        self._runs[side].append(run)

    def __getitem__(self, side: Side) -> Observation:
        return self._runs[side][0]

    @property
    def again(self) -> Observation | None:
        """The second run of legacy."""
        return self._runs[Side.LEGACY][1] if len(self._runs[Side.LEGACY]) > 1 else None


def learned(shadow: Shadow, sides: Sides) -> NoiseSample | None:
    """In which fields the candidate, and legacy itself, differed from legacy's first run.

    None if legacy did not run twice, and if the runs did not all end alike or differ in too many fields to list.
    """
    again = sides.again
    if again is None:
        return None
    runs = sides[Side.LEGACY], sides[Side.CANDIDATE], again
    if len({run.outcome.error is None for run in runs}) > 1:
        return None
    first, candidate, second = (_facts(shadow, run) for run in runs)
    masked = shadow.migration.masked
    found = [differences(first, other, masked) for other in (candidate, second)]
    if any(len(each) > MAX_DIFFERENCES for each in found):
        return None
    by_candidate, by_legacy = (tuple(difference.field for difference in each) for each in found)
    return NoiseSample(candidate=by_candidate, legacy=by_legacy)


def compared(
    shadow: Shadow, sides: Sides, sample: NoiseSample | None, noise: NoiseBook, observers: Observers
) -> Comparison:
    """The comparison of both sides; dropped if the side that served did not do the same again."""
    migration, served, other = shadow.migration, sides[shadow.side], sides[shadow.side.other]
    unfaithful = differences(shadow.facts, outcome_facts(migration, served.outcome), migration.masked, migration.clean)
    if set(_fields(unfaithful)) - set(_noisy(shadow, unfaithful, noise)):
        detail = f"{shadow.side} did not do the same again: {', '.join(_fields(unfaithful))}"
        return shadow.comparison(Verdict.DROPPED, differences=unfaithful, noise=sample, detail=detail)
    legacy, candidate = ((sides[side].outcome, sides[side].sent) for side in Side)
    comparison = shadow.comparison(
        **judged(migration, legacy, candidate),
        noise=sample,
        shadow_seconds=other.outcome.seconds,
        shadow_trace=other.trace,
    )
    return with_rules_applied(migration, _with_noise_named(shadow, comparison, noise), observers)


def _with_noise_named(shadow: Shadow, comparison: Comparison, noise: NoiseBook) -> Comparison:
    """The comparison with its noisy fields named; as `NOISY` if nothing but these differ."""
    noisy = _noisy(shadow, comparison.differences, noise)
    only_noise = comparison.verdict is Verdict.DIFFERENT and len(noisy) == len(comparison.differences)
    return replace(comparison, noisy=noisy, verdict=Verdict.NOISY if only_noise else comparison.verdict)


def _noisy(shadow: Shadow, found: tuple[Difference, ...], noise: NoiseBook) -> tuple[str, ...]:
    if not found:
        return ()
    known = noise.noisy_fields(shadow.call.migration, shadow.call.function)
    return tuple(field for field in _fields(found) if field in known)


def _fields(found: tuple[Difference, ...]) -> tuple[str, ...]:
    return tuple(difference.field for difference in found)


def _facts(shadow: Shadow, run: Observation) -> Facts:
    facts: Mapping[str, object] = outcome_facts(shadow.migration, run.outcome)
    return {**facts, **request_facts(run.sent)}
