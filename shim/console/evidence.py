"""The guard's evidence as a curve: what each bad call has added or taken away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from migration.guard import FREEZE_AT, ROLLBACK_AT, Evidence, GuardStore, Record, replayed

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
    evidence: Evidence
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
            GuardStoreError: the file cannot be read.
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


def curve_of(record: Record) -> Sequence[Point]:
    """The curve behind a decision of the guard; empty for one that was not taken on evidence."""
    if record.start is None or record.is_of_rollout:
        return []
    totals = replayed(record.start, record.calls)[1:]
    return thinned([(call.at, total) for call, total in zip(record.calls, totals, strict=True)])


def thinned(points: Sequence[Point]) -> list[Point]:
    """At most `POINTS` of them: of each stretch the highest, and the last one always."""
    if len(points) <= POINTS:
        return list(points)
    step = -(-len(points) // (POINTS - 1))
    highest = [max(points[start : start + step], key=lambda point: point[1]) for start in range(0, len(points), step)]
    return [*highest, points[-1]]
