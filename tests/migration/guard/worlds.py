"""Worlds in which a rollout happens, drawn from a seed. `python -m tests.migration.guard.worlds` prints all tables.

A world draws what becomes of each call before it is known which side serves it: so no world holds a regression. An
`Effect` then makes the candidate worse.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Booleans: TypeAlias = NDArray[np.bool_]
Codes: TypeAlias = NDArray[np.int64]
Numbers: TypeAlias = NDArray[np.float64]

KINDS = ("", "server_failed", "rate_limited", "connection_lost", "timeout", "bad_answer")
"""What a code means; 0 is success. A higher code is a rare kind of its own."""

TIMEOUT: int = KINDS.index("timeout")
BAD_ANSWER: int = KINDS.index("bad_answer")

STAGES = ((0.0, 600), (0.01, 4000), (0.1, 3000), (0.5, 2000), (0.98, 2000))
"""Share of the candidate and number of calls; at the end legacy holds back 2 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """Calls in the order in which they end.

    Attributes:
        kind: code of the failure, 0 after success.
        seconds: how long each took.
        noise: of the comparisons with a second run of legacy, which call each belongs to.
        noisy: whether the candidate, and whether the second run of legacy, differed in it.
        candidate: who served.
        share: the probability of that.
    """

    kind: Codes
    seconds: Numbers
    noise: Codes
    noisy: tuple[Booleans, Booleans]
    candidate: Booleans
    share: Numbers


@dataclass(frozen=True, slots=True)
class World:
    """What happens to calls, whichever side serves them.

    Attributes:
        name: in a few words.
        kinds: draws the code of each call's failure.
        seconds: draws how long each call takes.
        noise: how often a run differs from another run of the same side, where both are compared.
        users: draws who each call belongs to, where routing sticks to users; None routes each upload by itself.
    """

    name: str
    kinds: Callable[[np.random.Generator, int], Codes]
    seconds: Callable[[np.random.Generator, int], Numbers]
    noise: float = 0.01
    users: Callable[[np.random.Generator, int], Codes] | None = None

    def draw(self, source: np.random.Generator, stages: tuple[tuple[float, int], ...] = STAGES) -> Calls:
        """A rollout's calls."""
        count = sum(calls for _, calls in stages)
        share = np.repeat([share for share, _ in stages], [calls for _, calls in stages])
        noise = np.flatnonzero(source.random(count) < COMPARED)
        if self.users is None:
            candidate = source.random(count) < share
            kind = self.kinds(source, count)
        else:
            users = self.users(source, count)
            candidate = source.random(USERS)[users] < share
            kind = np.where(source.random(count) < _user_rates(source)[users], 1, 0)
        return Calls(
            kind=kind,
            seconds=self.seconds(source, count),
            noise=noise,
            noisy=(source.random(len(noise)) < self.noise, source.random(len(noise)) < self.noise),
            candidate=candidate,
            share=share,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """How the candidate is worse.

    Attributes:
        name: in a few words.
        fails: share of its calls that fail in addition.
        kind: code of these failures.
        slower: factor of its durations.
        differs: share of its comparisons that differ in addition.
    """

    name: str
    fails: float = 0.0
    kind: int = 1
    slower: float = 1.0
    differs: float = 0.0

    def on(self, calls: Calls, source: np.random.Generator) -> Calls:
        """The calls with this candidate."""
        hit = calls.candidate & (calls.kind == 0) & (source.random(len(calls.kind)) < self.fails)
        candidate, legacy = calls.noisy
        return replace(
            calls,
            kind=np.where(hit, self.kind, calls.kind),
            seconds=np.where(calls.candidate, calls.seconds * self.slower, calls.seconds),
            noisy=(candidate | (source.random(len(candidate)) < self.differs), legacy),
        )


COMPARED = 0.05
"""Share of the calls for which legacy runs a second time."""

USERS = 200


def failing(rate: float | Numbers) -> Callable[[np.random.Generator, int], Codes]:
    """Failures that are independent of each other; a fifth are timeouts."""

    def draw(source: np.random.Generator, count: int) -> Codes:
        failed = source.random(count) < rate
        return np.where(failed, source.integers(1, TIMEOUT + 1, count), 0)

    return draw


def lognormal(source: np.random.Generator, count: int) -> Numbers:
    """Durations around 0.3 s."""
    return 0.3 * np.exp(0.6 * source.standard_normal(count))


def _waves(count: int) -> Numbers:
    """From 0 to 1 and back, two and a half times."""
    return 0.5 - 0.5 * np.cos(np.linspace(0.0, 5.0 * np.pi, count))


def _drifting_kinds(source: np.random.Generator, count: int) -> Codes:
    return failing(0.005 + 0.08 * _waves(count))(source, count)


def _drifting_seconds(source: np.random.Generator, count: int) -> Numbers:
    return lognormal(source, count) * (1.0 + 3.0 * _waves(count))


def _incident(source: np.random.Generator, count: int) -> Booleans:
    """Four times somewhere, 250 calls long."""
    hit = np.zeros(count, dtype=bool)
    for start in source.integers(0, count, 4):
        hit[start : start + 250] = True
    return hit


def _incident_kinds(source: np.random.Generator, count: int) -> Codes:
    return failing(np.where(_incident(source, count), 0.6, 0.02))(source, count)


def _incident_seconds(source: np.random.Generator, count: int) -> Numbers:
    return lognormal(source, count) * np.where(_incident(source, count), 6.0, 1.0)


def _bursty_kinds(source: np.random.Generator, count: int) -> Codes:
    """About every 300 calls some 15 in a row fail nearly all, in the same way."""
    kinds = failing(0.005)(source, count)
    for start in np.flatnonzero(source.random(count) < 1 / 300):
        end = start + source.geometric(1 / 15)
        kinds[start:end] = np.where(source.random(len(kinds[start:end])) < 0.9, source.integers(1, 5), 0)
    return kinds


def _pareto(source: np.random.Generator, count: int) -> Numbers:
    return 0.1 * (1.0 + source.pareto(1.1, count))


def _storm_kinds(source: np.random.Generator, count: int) -> Codes:
    """A user whose call fails repeats it at once, up to eight times; seven in ten repetitions fail. Each is a call."""
    kinds = failing(0.01)(source, count)
    for start in np.flatnonzero(kinds):
        tries = min(8, int(source.geometric(0.3)) - 1)
        kinds[start : start + 1 + tries] = kinds[start]
    return kinds


def sessions(source: np.random.Generator, count: int) -> Codes:
    """Users who come for some 20 uploads in a row, a few of them far more often than the others."""
    length = source.geometric(1 / 20, count // 10)
    return np.repeat(np.minimum(source.zipf(1.3, count // 10), USERS) - 1, length)[:count]


def _user_rates(source: np.random.Generator) -> Numbers:
    """Four users in a hundred fail mostly, whichever side serves them."""
    return np.where(source.random(USERS) < 0.04, 0.7, 0.01)


def _sticky_kinds(source: np.random.Generator, count: int) -> Codes:
    failed = source.random(count) < _user_rates(source)[sessions(source, count)]
    return np.where(failed, source.integers(1, 5, count), 0)


def _rare_kinds(source: np.random.Generator, count: int) -> Codes:
    """Failures of many kinds, most of which are seen once or twice."""
    return np.where(source.random(count) < 0.02, np.minimum(source.zipf(1.5, count), 60), 0)


STABLE = World("stable", failing(0.02), lognormal)

NULL_WORLDS = (
    STABLE,
    World("drifting errors and latency", _drifting_kinds, _drifting_seconds),
    World("shared incident", _incident_kinds, _incident_seconds),
    World("bursty", _bursty_kinds, lognormal),
    World("heavy-tailed latency", failing(0.02), _pareto),
    World("retry storms", _storm_kinds, lognormal),
    World("sticky users, routed per upload", _sticky_kinds, lognormal),
    World("noisy mismatches", failing(0.02), lognormal, noise=0.4),
    World("many rare kinds of failure", _rare_kinds, lognormal),
)

STICKY_ROUTING = World("sticky users, routed per user", failing(0.02), lognormal, users=sessions)
"""No null world: routing that sticks to users breaks the guard's one condition, that each call is routed by itself."""


if __name__ == "__main__":
    from tests.migration.guard.worlds_tables import main

    main()
