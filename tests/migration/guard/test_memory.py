"""The memory of the process."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from migration.guard import Rule
from migration.guard.watching import CAP, CONFIRMATIONS, MemoryWatch

MIB = 2**20


@dataclass
class Gauge:
    """Memory as told."""

    now: int = 1000 * MIB
    most: int = 8000 * MIB
    looks: int = 0

    def used(self) -> int:
        """Count the look."""
        self.looks += 1
        return self.now

    def limit(self) -> int:
        """As told."""
        return self.most


def watched(*used: int, gauge: Gauge | None = None) -> list[list[Rule]]:
    """The rules met at one look a second, after legacy served everything with 1000 MiB."""
    gauge = gauge or Gauge()
    watch = MemoryWatch(gauge)
    watch.look(0.0, share=0.0)
    met = []
    for second, each in enumerate(used, start=1):
        gauge.now = each
        met.append(watch.look(float(second), share=0.1))
    return met


def test_growth_that_stays_is_reported() -> None:
    """Half as much again as under legacy, seen three times in a row, is growth: two seconds after it began."""
    assert watched(*[1600 * MIB] * 3) == [[], [], [Rule.MEMORY_GROWTH]]


def test_a_single_large_file_is_no_growth() -> None:
    """What is gone at a later look was no growth."""
    assert not any(watched(*[1600 * MIB, 1600 * MIB, 1100 * MIB] * 5))


@pytest.mark.parametrize("used", [1100 * MIB, 1400 * MIB, 1500 * MIB])
def test_a_little_more_is_no_growth(used: int) -> None:
    """Up to half as much again may be coincidence."""
    assert not any(watched(*[used] * 10))


def test_a_small_process_may_double() -> None:
    """Where legacy needs 100 MiB, 300 are no growth yet: a quarter of a gigabyte more are."""
    for used, met in ((300 * MIB, []), (400 * MIB, [Rule.MEMORY_GROWTH])):
        assert watched(*[used] * CONFIRMATIONS, gauge=Gauge(now=100 * MIB))[-1] == met


def test_close_to_the_limit_one_look_is_enough() -> None:
    """Memory above the cap is reported at the first look."""
    gauge = Gauge(now=1000 * MIB, most=1200 * MIB)
    assert watched(round(1200 * CAP) * MIB, gauge=gauge) == [[Rule.MEMORY_CAP]]


def test_the_baseline_is_the_most_that_legacy_needed() -> None:
    """Peaks under legacy alone belong to the baseline; what comes with the candidate does not."""
    gauge = Gauge()
    watch = MemoryWatch(gauge)
    for second, used in enumerate((1000, 3000, 1000)):
        gauge.now = used * MIB
        watch.look(float(second), share=0.0)
    gauge.now = 3500 * MIB
    assert not any(watch.look(10.0 + second, share=0.5) for second in range(10))


def test_memory_is_looked_at_once_a_second() -> None:
    """However many calls end, the gauge is read once a second."""
    gauge = Gauge()
    watch = MemoryWatch(gauge)
    for number in range(1000):
        watch.look(number / 100, share=0.1)
    assert gauge.looks <= 11
