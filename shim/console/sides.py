"""Both sides next to each other: exact figures of the single calls of a stretch of time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from migration import Side
from shim.process_metrics import CallSample

BUCKETS = 120
"""Points of a line over time, at most."""


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """The smallest value that at least this share of the values does not exceed; None if there are none."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def side_figures(calls: Sequence[CallSample]) -> Mapping[str, object]:
    """How the calls of one side went. Durations are of all calls, also of those that failed."""
    seconds = sorted(call.seconds for call in calls)
    errors = Counter(call.error for call in calls if call.error is not None)
    return {
        "calls": len(calls),
        "failed": errors.total(),
        "success": (len(calls) - errors.total()) / len(calls) if calls else None,
        "median": percentile(seconds, 0.5),
        "p99": percentile(seconds, 0.99),
        "bytes": sum(call.bytes for call in calls),
        "last_at": calls[-1].at if calls else None,
        "errors": dict(errors.most_common()),
    }


def timeline(calls: Sequence[CallSample], *, start: float, window: float) -> Mapping[str, object]:
    """The figures of both sides over time, in `BUCKETS` steps of equal length; None where nothing was called.

    Steps begin at whole multiples of their length, so that a line stays the same as time goes on.
    """
    step = window / BUCKETS
    first = math.floor(start / step)
    buckets: dict[tuple[Side, int], list[CallSample]] = {}
    for call in calls:
        buckets.setdefault((call.side, math.floor(call.at / step) - first), []).append(call)
    numbers = range(BUCKETS + 1)
    return {
        "step": step,
        "at": [(first + number) * step for number in numbers],
        **{
            side.value: {
                name: [_of(buckets.get((side, number)), name) for number in numbers]
                for name in ("calls", "success", "median", "p99")
            }
            for side in Side
        },
    }


def _of(calls: Sequence[CallSample] | None, name: str) -> object:
    if not calls:
        return 0 if name == "calls" else None
    return side_figures(calls)[name]
