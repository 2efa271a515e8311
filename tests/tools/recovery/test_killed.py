"""Uploading processes that are killed at random moments: recovery leaves nothing lost, doubled or orphaned."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.tools.recovery.bench import Bench
from tests.tools.recovery.nursery import Tally, kill_many


def check(tally: Tally) -> None:
    assert (tally.lost, tally.doubled, tally.orphans, tally.unfinished) == ([], [], [], 0), str(tally)
    assert sum(tally.states.values()) > 0, "no process was killed in mid upload"


def test_some_are_killed(bench: Bench, say: Callable[[str], None]) -> None:
    """A sample of the proof below."""
    tally = kill_many(bench, 5, seed=1)
    say(f"{bench.provider}, {bench.side}: {tally}")
    check(tally)


@pytest.mark.thorough
def test_many_are_killed(bench: Bench, say: Callable[[str], None]) -> None:
    """160 of each implementation and provider, at random moments, some answers being late or lost."""
    tally = kill_many(bench, 160, seed=2)
    say(f"{bench.provider}, {bench.side}: {tally}")
    check(tally)
