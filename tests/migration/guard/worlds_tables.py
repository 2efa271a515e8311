"""The tables of docs/guard.md, computed again."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from itertools import chain

import numpy as np
from scipy.stats import beta  # type: ignore[import-untyped]  # it ships no types

from migration.guard import CallTally
from migration.rollout import harm_bound
from tests.migration.guard.worlds import NULL_WORLDS, STICKY_ROUTING, World
from tests.migration.guard.worlds_detection import (
    ERRORS,
    OTHERS,
    SHARES,
    detection,
    late_detection,
    mismatches_until_rollback,
)
from tests.migration.guard.worlds_judging import JUDGES

SHARE_OF_JUDGES = 0.1
MARGINS = (0.01, 0.02)


def false_rollbacks(world: World, *, rollouts: int, seed: int = 1, judges: Sequence[str] = ("guard",)) -> list[int]:
    """In how many rollouts of a world without a regression each judge rolls back."""
    source = np.random.default_rng([seed, len(world.name), *world.name.encode()])
    counts = [0] * len(judges)
    for _ in range(rollouts):
        calls = world.draw(source)
        for index, name in enumerate(judges):
            counts[index] += JUDGES[name](calls) is not None
    return counts


def upper_bound(count: int, rollouts: int) -> float:
    """Clopper and Pearson's bound: the true share is below it with a probability of 95 %."""
    return float(beta.ppf(0.95, count + 1, rollouts - count)) if count < rollouts else 1.0


def null_table(rollouts: int) -> Iterable[Sequence[str]]:
    """False rollbacks of the guard."""
    yield "world without a regression", "false rollbacks", "share", "95 % bound"
    for world in NULL_WORLDS:
        (count,) = false_rollbacks(world, rollouts=rollouts)
        bound = upper_bound(count, rollouts)
        yield world.name, f"{count} of {rollouts}", f"{count / rollouts:.2%}", f"{bound:.2%}"


def judges_table(rollouts: int) -> Iterable[Sequence[str]]:
    """False rollbacks of all judges, and how fast they find what is there."""
    yield "", *JUDGES
    for world in (*NULL_WORLDS, STICKY_ROUTING):
        counts = false_rollbacks(world, rollouts=rollouts, seed=2, judges=list(JUDGES))
        yield world.name, *(f"{count / rollouts:.1%}" for count in counts)
    for case in (*ERRORS, *OTHERS):
        found = (detection(case, SHARE_OF_JUDGES, rollouts=rollouts, judge=judge).words for judge in JUDGES.values())
        yield case.effect.name, *found


def detection_table(rollouts: int) -> Iterable[Sequence[str]]:
    """Uploads of a bad candidate until it is rolled back."""
    yield "fault", *(f"{share:.0%} arm" for share in SHARES)
    for case in (*ERRORS, *OTHERS):
        known = [f" ({median} / {most})" for median, most in case.known]
        enough = rollouts if known else max(1, rollouts // 4)
        found = [detection(case, share, rollouts=enough).words for share in SHARES]
        yield case.effect.name, *(words + published for words, published in zip(found, known or [""] * 3, strict=True))


def mismatch_table(rollouts: int) -> Iterable[Sequence[str]]:
    """Comparisons until a candidate that differs is rolled back."""
    yield "candidate differs in", "noise 0 %", "noise 5 %", "noise 30 %"
    for differs in (1.0, 0.2, 0.05):
        found = [mismatches_until_rollback(differs, noise, rollouts=rollouts).words for noise in (0.0, 0.05, 0.3)]
        yield f"{differs:.0%}", *found


def late_table(rollouts: int) -> Iterable[Sequence[str]]:
    """Uploads of a candidate that turns bad late, from then on until it is rolled back."""
    yield "calls before errors 0.5 → 5.5 %", *(f"{share:.0%} arm" for share in SHARES)
    for quiet in (0, 5_000, 20_000):
        found = [late_detection(ERRORS[0], share, quiet, rollouts=rollouts).words for share in SHARES]
        yield f"{quiet:,}", *found


def promotion_table(runs: int) -> Iterable[Sequence[str]]:
    """Uploads of an equally good candidate until the bound on its harm lies below a margin."""
    yield "failures of both", *(f"{share:.0%} arm, margin {margin:.0%}" for share in SHARES for margin in MARGINS)
    for rate in (0.0, 0.005, 0.02):
        cells = (uploads_to_pass(rate, share, margin, runs=runs) for share in SHARES for margin in MARGINS)
        yield f"{rate:.1%}", *(f"{cell:,.0f}" for cell in cells)


def uploads_to_pass(rate: float, share: float, margin: float, *, runs: int, alpha: float = 0.05) -> float:
    """Median of the uploads of the candidate, looked at whenever these have become 5 % more."""
    source = np.random.default_rng([3, round(1e6 * rate), round(1000 * share)])
    needed = []
    for _ in range(runs):
        candidate, bad, legacy_bad = 0, 0, 0
        while True:
            more = max(10, candidate // 20)
            candidate += more
            bad += int(source.binomial(more, rate))
            legacy_bad += int(source.binomial(round(more * (1 - share) / share), rate))
            legacy = CallTally(round(candidate * (1 - share) / share), legacy_bad)
            if harm_bound(legacy, CallTally(candidate, bad), alpha=alpha) < margin:
                needed.append(candidate)
                break
    return float(np.median(needed))


def markdown(rows: Iterable[Sequence[str]]) -> Iterable[str]:
    """The lines of a table, each as soon as it is known."""
    for number, row in enumerate(rows):
        yield f"| {' | '.join(row)} |\n"
        if number == 0:
            yield "|---" * len(row) + "|\n"


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rollouts", type=int, default=2000, help="of each world and each cell")
    parser.add_argument("--only", choices=["null", "detection", "mismatches", "late", "judges", "promotion"])
    arguments = parser.parse_args()
    rollouts: int = arguments.rollouts
    tables: dict[str, Callable[[], Iterable[Sequence[str]]]] = {
        "null": lambda: null_table(rollouts),
        "detection": lambda: detection_table(rollouts),
        "mismatches": lambda: mismatch_table(max(1, rollouts // 4)),
        "late": lambda: late_table(max(1, rollouts // 10)),
        "judges": lambda: judges_table(max(1, rollouts // 5)),
        "promotion": lambda: promotion_table(max(1, rollouts // 20)),
    }
    for name, table in tables.items():
        if arguments.only in {None, name}:
            for line in chain([f"{name}\n\n"], markdown(table()), ["\n"]):
                sys.stdout.write(line)
                sys.stdout.flush()
