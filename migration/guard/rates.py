"""The plain rules: rates of both sides next to each other, as people expect them."""

from __future__ import annotations

from dataclasses import dataclass

from migration.guard.bounds import Tally
from migration.guard.model import FinishedCall

POINTS = 0.05
"""How much higher the candidate's rate must be: five percentage points."""

ENOUGH_CALLS = 100
"""Calls of each side before rates are compared."""


@dataclass(slots=True)
class Rates:
    """How often each side failed and ran out of patience since the share last changed.

    Attributes:
        probability: the share of the calls that go to the candidate.
        errors: failures of legacy and of the candidate.
        timeouts: likewise.
    """

    probability: float | None = None
    errors: tuple[Tally, Tally] = (Tally(), Tally())
    timeouts: tuple[Tally, Tally] = (Tally(), Tally())

    def add(self, call: FinishedCall, *, failed: bool, timed_out: bool) -> None:
        """Count a call; one with another share begins anew, because calls of two shares do not compare."""
        if call.probability != self.probability:
            self.probability, self.errors, self.timeouts = call.probability, (Tally(), Tally()), (Tally(), Tally())
        self.errors = _counted(self.errors, call, bad=failed)
        self.timeouts = _counted(self.timeouts, call, bad=timed_out)


def is_higher(tallies: tuple[Tally, Tally]) -> bool:
    """Whether the candidate's rate is more than five points above legacy's, with enough calls of both."""
    legacy, candidate = tallies
    if min(legacy.calls, candidate.calls) < ENOUGH_CALLS:
        return False
    return candidate.bad / candidate.calls - legacy.bad / legacy.calls > POINTS


def _counted(tallies: tuple[Tally, Tally], call: FinishedCall, *, bad: bool) -> tuple[Tally, Tally]:
    legacy, candidate = tallies
    mine = candidate if call.on_candidate else legacy
    mine = Tally(mine.calls + 1, mine.bad + bad)  # `dataclasses.replace` takes ten times as long
    return (legacy, mine) if call.on_candidate else (mine, candidate)
