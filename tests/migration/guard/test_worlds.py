"""The guard's promise, kept by the real judge in worlds that are made to break it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import binom  # type: ignore[import-untyped]  # it ships no types

from migration.guard.evidence import ROLLBACK_AT
from tests.migration.guard.worlds import NULL_WORLDS, STICKY_ROUTING, World
from tests.migration.guard.worlds_judging import bad_calls, guard, guard_at_each_call
from tests.migration.guard.worlds_tables import false_rollbacks, upper_bound

pytestmark = pytest.mark.thorough

ROLLOUTS = 150
ALPHA = 1 / ROLLBACK_AT

by_name = pytest.mark.parametrize("world", NULL_WORLDS, ids=lambda world: world.name)


@by_name
def test_without_a_regression_hardly_any_rollout_is_rolled_back(world: World, say: Callable[[str], None]) -> None:
    """Through 1, 10, 50 and 98 %, looked at after each bad call, at most 1 % of the rollouts are rolled back."""
    (count,) = false_rollbacks(world, rollouts=ROLLOUTS)
    say(f"{count} of {ROLLOUTS} rolled back, the true share is below {upper_bound(count, ROLLOUTS):.1%}")
    assert count <= binom.ppf(0.9999, ROLLOUTS, ALPHA)


@by_name
def test_a_world_is_drawn_from_its_seed(world: World) -> None:
    """The same seed gives the same calls, another seed gives others."""
    first, again, other = (world.draw(np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert list(bad_calls(first)) == list(bad_calls(again))
    assert list(bad_calls(first)) != list(bad_calls(other))


@pytest.mark.parametrize("name", ["shared incident", "heavy-tailed latency"])
def test_the_whole_judge_keeps_the_promise(name: str) -> None:
    """Given each call, with its own baseline of latency and all plain rules, the judge rolls back no more often."""
    world = next(world for world in NULL_WORLDS if world.name == name)
    source = np.random.default_rng(4)
    stages = ((0.0, 500), (0.01, 1500), (0.1, 1000), (0.5, 800))
    count = sum(guard_at_each_call(world.draw(source, stages)) is not None for _ in range(60))
    assert count <= binom.ppf(0.9999, 60, ALPHA)


def test_routing_that_sticks_to_users_breaks_the_promise(say: Callable[[str], None]) -> None:
    """Where all calls of a user go to one side, one bad user looks like a bad candidate: a limit that is documented."""
    source = np.random.default_rng(5)
    count = sum(guard(STICKY_ROUTING.draw(source)) is not None for _ in range(60))
    say(f"{count} of 60 rolled back")
    assert count > 60 * 0.05
