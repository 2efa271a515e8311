"""One decision on its way: to be written down, and to be carried out."""

from __future__ import annotations

from migration.guard.model import Action, Ruling
from migration.guard.ports import Switch

MORE_COMPARISONS = 50
"""Percent of the calls that are compared while promotion is frozen."""

FIRST_PAUSE = 0.25
LONGEST_PAUSE = 5.0
"""Seconds between two attempts to change a flag, each pause twice the one before. It is tried until it is done."""


class Case:
    """A decision whose flag has to be changed, and of which a record has to be kept.

    Args:
        migration: about which migration.
        because: the reason, for the flag's description.
        action: what was decided.
        ruling: what is still to be written down.
        number: id of its record, if it has been.
        epoch: in which it was decided.
    """

    def __init__(
        self,
        migration: str,
        because: str,
        *,
        action: Action = Action.ROLLBACK,
        ruling: Ruling | None = None,
        number: int | None = None,
        epoch: int = 0,
    ) -> None:
        self.migration = migration
        self.action = action
        self.ruling = ruling
        self.number = number
        self.epoch = epoch
        self.attempts = 0
        self.problem = ""
        self.changed_at: float | None = None
        self._because = because
        self._next_try = 0.0
        self._after: str | None = None

    @property
    def flag_after(self) -> str | None:
        """Fingerprint of the flag once it was changed."""
        return self._after

    @property
    def done(self) -> bool:
        """Whether nothing is left to be done but to note that it is done."""
        return self.ruling is None and self.changed_at is not None

    def is_due(self, clock: float, *, hurry: bool) -> bool:
        """Whether the flag is to be changed at this reading of the clock (seconds); in a hurry, without a pause."""
        return self.changed_at is None and (hurry or self._next_try <= clock)

    def change(self, switch: Switch, *, at: float) -> None:
        """Change the flag; `at` is the time, seconds since the epoch. Raises whatever the switch does."""
        if self.action is Action.ROLLBACK:
            self._after = switch.turn_off(self.migration, because=self._because)
        else:
            switch.compare_more(self.migration, percent=MORE_COMPARISONS, because=self._because)
        self.changed_at = at

    def failed(self, clock: float, problem: str) -> None:
        """Try again a little later."""
        self.problem = problem
        self._next_try = clock + min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self.attempts, 10))
        self.attempts += 1
