"""How the evidence came about, so that anybody can compute it again."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

from migration.guard.evidence import Evidence
from migration.guard.model import BadCall

KEPT_CALLS = 1_000
"""The latest bad calls that are kept one by one; what older ones said is kept as a sum."""


class Trail:
    """The evidence, and how it was reached."""

    def __init__(self, start: Evidence | None = None) -> None:
        self.evidence = start or Evidence()
        self._start = Evidence.restored(self.evidence.state())
        self._calls: deque[BadCall] = deque()

    def add(self, call: BadCall) -> bool:
        """Take in one bad call; whether its failure is the first of a kind that legacy has never shown."""
        self._calls.append(call)
        if len(self._calls) > KEPT_CALLS:
            self._start.add(self._calls.popleft())
        return self.evidence.add(call)

    @property
    def start(self) -> dict[str, object]:
        """The evidence before the calls that are kept."""
        return self._start.state()

    @property
    def last(self) -> BadCall:
        """The call that was taken in last."""
        return self._calls[-1]

    @property
    def calls(self) -> tuple[BadCall, ...]:
        """The calls that are kept, oldest first."""
        return tuple(self._calls)


def replayed(start: Mapping[str, object], calls: Iterable[BadCall]) -> list[float]:
    """The total evidence at the start and after each call, computed anew; the last is what was decided upon."""
    evidence = Evidence.restored(start)
    totals = [evidence.total]
    for call in calls:
        evidence.add(call)
        totals.append(evidence.total)
    return totals
