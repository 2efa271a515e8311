"""Figures of the console and of reports as plain data: calls, processes, evidence, decisions, comparisons, traces."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from migration import Side
from migration.guard import FREEZE_AT, ROLLBACK_AT, CandidateEvidence, DecisionRecord, GuardStore, replay_evidence
from migration.store import RecordedComparison
from shim.process_metrics import CallSample, ProcessMetricsReader, ProcessSample

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


# Memory, pool and loop delay of the processes of this machine, over time.

MOST_PROCESSES = 8
"""Processes that are shown: those that were heard of last."""


def process_lines(metrics: ProcessMetricsReader, *, start: float, window: float) -> Mapping[str, object]:
    """For each process the worst value of each stretch of time (`at` is its beginning), and how it stood last.

    Raises:
        StoreError: they cannot be read.
    """
    samples = metrics.processes(since=start)
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


# The guard's evidence as a curve: what each bad call has added or taken away.

FOLLOWED_CALLS = 10_000
"""Bad calls of a migration whose evidence is remembered; older ones leave the curve."""

POINTS = 300
"""Of a curve that is sent to the page; of more the highest of each stretch."""

Point = tuple[float, float]
"""When, in seconds since the epoch, and the evidence then."""


@dataclass(slots=True)
class _Followed:
    """What is known of one migration since it was last resumed."""

    epoch: int
    last: int
    evidence: CandidateEvidence
    points: list[Point] = field(default_factory=list)


class EvidenceCurves:
    """Follows the bad calls in the guard's file, each once.

    Args:
        store: the file.
    """

    def __init__(self, store: GuardStore) -> None:
        self._store = store
        self._followed: dict[str, _Followed] = {}

    def curve(self, migration: str, *, epoch: int) -> Mapping[str, object]:
        """The curve so far, with the thresholds.

        Raises:
            StoreError: the file cannot be read.
        """
        summed, up_to = self._store.summed(migration=migration, epoch=epoch)
        followed = self._followed.get(migration)
        if followed is None or followed.epoch != epoch or followed.last < up_to:
            followed = self._followed[migration] = _Followed(epoch, up_to, summed)
        for stored in self._store.calls_after(followed.last, migration=migration, epoch=epoch):
            followed.evidence.add(stored.call)
            followed.points.append((stored.call.at, followed.evidence.total))
            followed.last = stored.id
        del followed.points[:-FOLLOWED_CALLS]
        return {
            "points": thinned(followed.points),
            "total": followed.evidence.total,
            "calls": followed.evidence.calls,
            "by_signal": {signal.value: value for signal, value in followed.evidence.by_signal().items()},
            "freeze_at": FREEZE_AT,
            "rollback_at": ROLLBACK_AT,
        }


def curve_of(record: DecisionRecord) -> Sequence[Point]:
    """The curve behind a decision of the guard; empty for one that was not taken on evidence."""
    if record.start is None or record.is_of_rollout:
        return []
    totals = replay_evidence(record.start, record.calls)[1:]
    return thinned([(call.at, total) for call, total in zip(record.calls, totals, strict=True)])


def thinned(points: Sequence[Point]) -> list[Point]:
    """At most `POINTS` of them: of each stretch the highest, and the last one always."""
    if len(points) <= POINTS:
        return list(points)
    step = -(-len(points) // (POINTS - 1))
    highest = [max(points[start : start + step], key=lambda point: point[1]) for start in range(0, len(points), step)]
    return [*highest, points[-1]]


# Decisions, comparisons and traces as rows of a list, and one of them in full.

SHOWN_CALLS = 20
"""Bad calls that are listed of one decision: the latest."""

_MORE_ROOTS = 4
"""How many times as many roots are read as are listed, for those of other migrations."""

Document = Mapping[str, object]


def decision_row(record: DecisionRecord) -> Document:
    """A decision in a sentence, and what became of it."""
    return {
        "id": record.id,
        "at": record.at,
        "action": record.action,
        "by": record.by,
        "rule": record.rule,
        "sentence": record.sentence,
        "carried_out_at": record.carried_out_at,
        "problem": record.problem,
    }


def decision_in_full(record: DecisionRecord) -> Document:
    """With its figures, its curve and its latest bad calls."""
    return {
        **decision_row(record),
        "numbers": dict(record.numbers),
        "evidence": {"points": curve_of(record), "freeze_at": FREEZE_AT, "rollback_at": ROLLBACK_AT},
        "calls": [
            {
                "at": call.at,
                "side": "candidate" if call.on_candidate else "legacy",
                "signals": sorted(call.signals),
                "kind": call.kind,
                "seconds": call.seconds,
                "trace": call.trace,
            }
            for call in record.calls[-SHOWN_CALLS:]
        ],
    }


def comparison_row(found: RecordedComparison) -> Document:
    """A comparison in a line."""
    return {
        "id": found.id,
        "at": found.at,
        "function": found.function.rpartition(":")[2],
        "verdict": found.verdict,
        "mode": found.mode,
        "fields": [each.field for each in found.differences],
        "detail": found.detail,
    }


def trace_rows(metrics: ProcessMetricsReader, migration: str, *, limit: int) -> Sequence[Document]:
    """The latest traces of a migration's calls, newest first, each with the shadows that are linked to it."""
    shadows: dict[str, str] = {}
    for shadow in metrics.shadows(limit=limit * _MORE_ROOTS):
        for primary in shadow.links:
            shadows[primary] = shadow.trace
    roots = sorted(metrics.roots(limit=limit * _MORE_ROOTS), key=lambda root: root.began, reverse=True)
    found = [root for root in roots if root.name == migration]
    return [
        {
            "trace": root.trace,
            "at": root.began,
            "seconds": root.seconds,
            "failed": root.failed,
            "side": root.attributes.get("migration.side"),
            "shadow": shadows.get(root.trace),
        }
        for root in found[:limit]
    ]


def trace_in_full(metrics: ProcessMetricsReader, trace: str) -> Document:
    """The spans of a trace, and of the shadows that are linked to it."""
    return {
        "trace": trace,
        "spans": [asdict(span) for span in metrics.trace(trace)],
        "shadows": [asdict(span) for span in metrics.shadows_of(trace)],
    }
