"""How many uploads a bad candidate gets until it is rolled back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from tests.migration.guard.worlds import BAD_ANSWER, COMPARED, TIMEOUT, Calls, Effect, World, failing, lognormal
from tests.migration.guard.worlds_judging import Verdict, guard

SHARES = (0.01, 0.1, 0.5)

WARM_UP = (0.0, 1000)
"""Calls that legacy serves alone at first, which say what is slow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A fault to be found.

    Attributes:
        world: what happens beside it.
        effect: the fault.
        uploads: of the candidate, after which a rollout counts as missed.
        known: medians and 90th percentiles that were published for the same, at each share.
    """

    world: World
    effect: Effect
    uploads: int
    known: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Detection:
    """How many uploads the candidate had got when it was rolled back.

    Attributes:
        uploads: of each rollout that was rolled back, ascending.
        missed: rollouts that never were.
    """

    uploads: tuple[int, ...]
    missed: int

    def quantile(self, share: float) -> float:
        """So many uploads or less in this share of all rollouts."""
        index = int(share * (len(self.uploads) + self.missed - 1) + 0.5)
        return self.uploads[index] if index < len(self.uploads) else float("inf")

    @property
    def words(self) -> str:
        """Median and 90th percentile."""
        return " / ".join(f"{self.quantile(share):,.0f}" for share in (0.5, 0.9)).replace("inf", "never")


_SELDOM = World("half a percent fails", failing(0.005), lognormal)
_SOMETIMES = World("two percent fail", failing(0.02), lognormal)
_FIVE_MORE = 0.05 / 0.995

ERRORS = (
    Case(
        world=_SELDOM,
        effect=Effect(name="errors 0.5 → 5.5 %", fails=_FIVE_MORE),
        uploads=700,
        known=((64, 147), (81, 193), (195, 385)),
    ),
    Case(
        world=_SOMETIMES,
        effect=Effect(name="errors 2 → 7 %", fails=0.05 / 0.98),
        uploads=1200,
        known=((140, 315), (167, 341), (348, 694)),
    ),
    Case(
        world=_SELDOM,
        effect=Effect(name="errors 0.5 → 100 %", fails=1.0),
        uploads=150,
        known=((2, 3), (3, 4), (9, 9)),
    ),
)

OTHERS = (
    Case(world=_SELDOM, effect=Effect(name="timeouts 0.1 → 5.1 %", fails=_FIVE_MORE, kind=TIMEOUT), uploads=700),
    Case(world=_SELDOM, effect=Effect(name="a new kind in 2 %", fails=0.02, kind=BAD_ANSWER), uploads=2000),
    Case(world=_SELDOM, effect=Effect(name="latency + 50 %", slower=1.5), uploads=1000),
    Case(world=_SELDOM, effect=Effect(name="latency + 100 %", slower=2.0), uploads=500),
)


def detection(
    case: Case, share: float, *, rollouts: int, judge: Callable[[Calls], Verdict] = guard, seed: int = 1
) -> Detection:
    """What a judge makes of a fault that is there from the first upload on."""
    source = np.random.default_rng([seed, round(1000 * share)])
    found = []
    for _ in range(rollouts):
        calls = case.effect.on(case.world.draw(source, (WARM_UP, (share, round(case.uploads / share)))), source)
        verdict = judge(calls)
        if verdict is not None:
            found.append(int(calls.candidate[: verdict + 1].sum()))
    return Detection(tuple(sorted(found)), rollouts - len(found))


def late_detection(case: Case, share: float, quiet: int, *, rollouts: int, seed: int = 1) -> Detection:
    """What the guard makes of a fault that begins after so many calls at the same share; uploads count from there."""
    source = np.random.default_rng([seed, round(1000 * share), quiet])
    begin, found, missed = WARM_UP[1] + quiet, [], 0
    for _ in range(rollouts):
        good = case.world.draw(source, (WARM_UP, (share, quiet + round(15 * case.uploads / share))))
        bad = case.effect.on(good, source)
        calls = replace(good, kind=np.where(np.arange(len(good.kind)) >= begin, bad.kind, good.kind))
        verdict = guard(calls)
        missed += verdict is None
        if verdict is not None and verdict >= begin:  # before, it was a false rollback
            found.append(int(calls.candidate[begin : verdict + 1].sum()))
    return Detection(tuple(sorted(found)), missed)


def mismatches_until_rollback(differs: float, noise: float, *, rollouts: int, seed: int = 1) -> Detection:
    """How many comparisons with a second run of legacy it takes, if the candidate differs in a share of them."""
    source = np.random.default_rng(seed)
    world = World("", failing(0.005), lognormal, noise=noise)
    effect = Effect(name="", differs=differs)
    found = []
    for _ in range(rollouts):
        calls = effect.on(world.draw(source, (WARM_UP, (0.01, round(60 / differs / COMPARED)))), source)
        verdict = guard(calls)
        if verdict is not None:
            found.append(int((calls.noise <= verdict).sum()))
    return Detection(tuple(sorted(found)), rollouts - len(found))
