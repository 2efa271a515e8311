"""The guard, and what is used elsewhere in its place, on the calls of a world."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
from scipy.stats import mannwhitneyu  # type: ignore[import-untyped]  # it ships no types

from migration.guard import Action, BadCall, FinishedCall, Judge, Signal
from tests.migration.guard.worlds import KINDS, TIMEOUT, Booleans, Calls, Numbers

Verdict = int | None
"""Index of the call after which the candidate is rolled back."""

BLOCK = 250
"""Calls between two computations of what is slow."""


def guard(calls: Calls) -> Verdict:
    """The real judge, given the bad calls alone: the others do not change its evidence."""
    judge = Judge("m")
    for index, bad in bad_calls(calls):
        ruling = judge.ruling(judge.take_in(bad), at=0.0, last=bad)
        if ruling is not None and ruling.action is Action.ROLLBACK:
            return index
    return None


def guard_at_each_call(calls: Calls) -> Verdict:
    """The real judge, given each call, with its own idea of what is slow and with the plain rules."""
    judge = Judge("m")
    columns = (calls.candidate.tolist(), calls.share.tolist(), calls.seconds.tolist(), calls.kind.tolist())
    for index, (candidate, share, seconds, kind) in enumerate(zip(*columns, strict=True)):
        call = FinishedCall(
            at=0.0, on_candidate=candidate, probability=share, seconds=seconds, kind=_kind(kind) if kind else None
        )
        ruling = judge.finished(call)
        if ruling is not None and ruling.action is Action.ROLLBACK:
            return index
    return None


def threshold(calls: Calls) -> Verdict:
    """More than five points worse in the latest 100 calls of each side."""
    failed = calls.kind > 0
    rates = []
    for mine in (calls.candidate, ~calls.candidate):
        sums = np.concatenate(([0], np.cumsum(failed[mine])))
        seen = np.cumsum(mine)
        rates.append(np.where(seen >= 100, (sums[seen] - sums[np.maximum(seen - 100, 0)]) / 100, np.nan))
    with np.errstate(invalid="ignore"):
        return _first(rates[0] - rates[1] > 0.05)


def z_test(calls: Calls) -> Verdict:
    """A test of two proportions at the level of 1 %, from 30 calls of each side on, after each call of a stage."""
    failed = calls.kind > 0
    for stage in stages(calls):
        mine, bad = calls.candidate[stage], failed[stage]
        there, here = np.cumsum(~mine), np.cumsum(mine)
        bad_there, bad_here = np.cumsum(bad & ~mine), np.cumsum(bad & mine)
        with np.errstate(invalid="ignore", divide="ignore"):
            pooled = (bad_there + bad_here) / (there + here)
            deviation = np.sqrt(pooled * (1 - pooled) * (1 / there + 1 / here))
            z = (bad_here / here - bad_there / there) / deviation
        hit = _first((z > 2.326) & (there >= 30) & (here >= 30))
        if hit is not None:
            return int(stage.start) + hit
    return None


def mann_whitney(calls: Calls) -> Verdict:
    """Slower at the level of 1 %, looked at after every 100 calls of the candidate in a stage, from 20 on."""
    for stage in stages(calls):
        mine, seconds = calls.candidate[stage], calls.seconds[stage]
        for look in np.flatnonzero(mine)[19::100]:
            here, there = seconds[: look + 1][mine[: look + 1]], seconds[: look + 1][~mine[: look + 1]]
            if len(there) >= 20 and mannwhitneyu(here, there, alternative="greater", method="asymptotic").pvalue < 0.01:
                return int(stage.start) + int(look)
    return None


JUDGES: dict[str, Callable[[Calls], Verdict]] = {
    "guard": guard,
    "threshold": threshold,
    "z-test": z_test,
    "Mann-Whitney": mann_whitney,
}


def bad_calls(calls: Calls) -> Iterator[tuple[int, BadCall]]:
    """The calls and comparisons that went badly, as the guard sees them."""
    slow = is_slow(calls)
    candidate, legacy = calls.noisy
    differing = dict(
        zip(calls.noise[candidate != legacy].tolist(), candidate[candidate != legacy].tolist(), strict=True)
    )
    indexes = np.union1d(np.flatnonzero((calls.kind > 0) | slow), np.fromiter(differing, dtype=int))
    columns = (calls.kind[indexes], slow[indexes], calls.candidate[indexes], calls.share[indexes])
    for index, kind, late, mine, share in zip(indexes.tolist(), *(column.tolist() for column in columns), strict=True):
        if kind or late:
            yield index, _bad(_signals(kind, slow=late), mine, share, _kind(kind) if kind else None)
        if index in differing:
            yield index, _bad(frozenset({Signal.MISMATCH}), differing[index], 0.5, None)


def is_slow(calls: Calls) -> Booleans:
    """Which calls took longer than 95 of 100 of the latest 2,000 legacy calls before them."""
    slow = np.zeros(len(calls.kind), dtype=bool)
    for start in range(BLOCK, len(slow), BLOCK):
        past = slice(max(0, start - 4000), start)
        legacy: Numbers = calls.seconds[past][~calls.candidate[past] & (calls.kind[past] == 0)][-2000:]
        if len(legacy) >= 20:
            slow[start : start + BLOCK] = (
                calls.seconds[start : start + BLOCK]
                > np.partition(legacy, int(0.95 * len(legacy)))[int(0.95 * len(legacy))]
            )
    return slow


def stages(calls: Calls) -> list[slice]:
    """The stretches of calls with one share each, those without the candidate left out."""
    ends = [*np.flatnonzero(np.diff(calls.share)) + 1, len(calls.share)]
    starts = [0, *ends[:-1]]
    return [slice(start, end) for start, end in zip(starts, ends, strict=True) if calls.share[start] > 0]


def _signals(kind: int, *, slow: bool) -> frozenset[Signal]:
    signals = {Signal.LATENCY} if slow else set()
    if kind:
        signals.add(Signal.ERROR)
    if kind == TIMEOUT:
        signals.add(Signal.TIMEOUT)
    return frozenset(signals)


def _kind(code: int) -> str:
    return KINDS[code] if code < len(KINDS) else f"rare {code}"


@lru_cache(maxsize=1000)
def _bad(signals: frozenset[Signal], on_candidate: bool, probability: float, kind: str | None) -> BadCall:  # noqa: FBT001  # cached
    return BadCall(at=0.0, signals=signals, on_candidate=on_candidate, probability=probability, kind=kind)


def _first(hits: Booleans) -> Verdict:
    return int(hits.argmax()) if hits.any() else None
