"""How the calls of one machine went, from the ledger that its processes share."""

from __future__ import annotations

import time
from collections.abc import Callable

from migration.model.errors import LedgerError
from migration.model.model import Side
from migration.rollout.counts import Counter, Reading
from migration.store.ledger_read import LedgerReader, Losses, SideTotals, Standing

LOST_LATELY_SECONDS = 60.0
"""While records were lost within this time, what there is does not tell the whole."""


_SOURCE = "ledger"


class LedgerTallies:
    """Counts the calls that the processes of this machine have recorded.

    Args:
        ledger: the record.
        now: the clock, in seconds since the epoch.
    """

    is_fleet = False

    def __init__(self, ledger: LedgerReader, *, now: Callable[[], float] = time.time) -> None:
        self._ledger = ledger
        self._now = now

    def read(self, migration: str) -> Reading:
        """The totals of both sides, and how long ago a call was decided last."""
        try:
            standing, losses = self._ledger.standing(migration), self._ledger.losses()
        except LedgerError as error:
            return Reading(problem=str(error))
        counters = [counter for side, totals in standing.sides.items() for counter in _counters(side, totals)]
        return Reading(counters=counters, age=self._age(standing), problem=self._problem(losses))

    def _age(self, standing: Standing) -> float | None:
        at = (standing.decision or {}).get("at")
        # a call from the future is of before the clock was set back: it is no sign of life either
        return abs(self._now() - at) if isinstance(at, float) else None

    def _problem(self, losses: Losses | None) -> str | None:
        if losses is None or self._now() - losses.last_at > LOST_LATELY_SECONDS:
            return None
        return f"{losses.records} records of calls could not be written"


def _counters(side: Side, totals: SideTotals) -> list[Counter]:
    bad = sum(totals.errors.values())
    return [
        Counter(source=_SOURCE, key=f"{side} ok", side=side, bad=False, value=totals.calls - bad),
        Counter(source=_SOURCE, key=f"{side} failed", side=side, bad=True, value=bad),
    ]
