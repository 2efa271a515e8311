"""Memory, pool and loop delay of the processes of this machine, over time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from shim.console.sides import BUCKETS
from shim.process_metrics import ProcessSample, VitalsReader

MOST_PROCESSES = 8
"""Processes that are shown: those that were heard of last."""


def process_lines(vitals: VitalsReader, *, start: float, window: float) -> Mapping[str, object]:
    """For each process the worst value of each stretch of time (`at` is its beginning), and how it stood last.

    Raises:
        VitalsError: they cannot be read.
    """
    samples = vitals.processes(since=start)
    by_process: dict[str, list[ProcessSample]] = {}
    for sample in samples:
        by_process.setdefault(sample.process, []).append(sample)
    shown = sorted(by_process.items(), key=lambda item: item[1][-1].at, reverse=True)[:MOST_PROCESSES]
    return {
        "lines": {process: _line(own, window / BUCKETS) for process, own in sorted(shown)},
        "left_out": len(by_process) - len(shown),
        "lost": sum(sample.lost for sample in samples),
    }


def _line(samples: Sequence[ProcessSample], step: float) -> Mapping[str, object]:
    buckets: dict[int, list[ProcessSample]] = {}
    for sample in samples:
        buckets.setdefault(math.floor(sample.at / step), []).append(sample)
    each = list(buckets.values())  # in the order of time, as the samples are
    last = samples[-1]
    return {
        "at": [number * step for number in buckets],
        "memory": [max(sample.memory for sample in own) for own in each],
        "pool_used": [_worst([sample.pool_used for sample in own]) for own in each],
        "loop_delay": [_worst([sample.loop_delay for sample in own]) for own in each],
        "last": {
            "at": last.at,
            "memory": last.memory,
            "memory_limit": last.memory_limit,
            "pool_used": last.pool_used,
            "pool_limit": last.pool_limit,
            "loop_delay": last.loop_delay,
        },
    }


def _worst(values: Sequence[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)
