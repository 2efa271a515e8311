"""Applies a decision to the flags until it holds, in whichever process of the machine is left to do it.

A decision is first written to the guard's file, where every process sees it as pending, and then applied. A change that
fails is tried again after a pause; one whose process has died is taken over by another process.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from migration.guard.model import Action, DecisionRecord, FlagSwitch
from migration.guard.store import GuardStatus, GuardStore
from migration.model.errors import MigrationError

MORE_COMPARISONS = 50
"""Percent of the calls that are compared while promotion is frozen."""

FIRST_PAUSE = 0.25
LONGEST_PAUSE = 5.0
"""Seconds between two attempts to change a flag; each pause is twice the one before, up to the longest."""

TAKE_OVER_SECONDS = 10.0
"""A flag that another process was to turn off, and has not within this time, is turned off by this one."""

NO_SWITCH = (
    "this process may not change the flag: legacy serves on this machine only, so turn the flag off by hand for all "
    "other machines"
)


class FlagGoneError(MigrationError):
    """The flag is archived or was never made, so there is nothing to change; another attempt would not help."""


@dataclass(slots=True, kw_only=True, eq=False)
class PendingAction:
    """A change of flags that follows from a decision, and how far it has come.

    Attributes:
        migration: whose flags.
        change: makes the change and returns the flag's state afterwards; None if this process may not.
        record: the decision, while it has still to be written to the store.
        epoch: in which it was decided.
        number: id of its record, once it was written.
        is_noted: whether the store is told that the change was made; not for one that nothing waits for.
        attempts: how many have failed.
        problem: why the last one did; empty if it did not.
        ended_at: when the change was made, or given up because there is no flag; seconds since the epoch.
        flag_after: the flag's state afterwards.
    """

    migration: str
    change: Callable[[], str | None] | None
    record: DecisionRecord | None = None
    epoch: int = 0
    number: int | None = None
    is_noted: bool = True
    attempts: int = 0
    problem: str = ""
    ended_at: float | None = None
    flag_after: str | None = None
    _next_attempt: float = -math.inf
    _pause: float = FIRST_PAUSE
    _known_problem: str = ""

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to be written or changed."""
        return self.record is None and (self.change is None or self.ended_at is not None)

    def attempt(self, *, at: float, clock: float, at_once: bool = False) -> bool:
        """Make the change if an attempt is due; whether one was made.

        Args:
            at: the time, in seconds since the epoch.
            clock: reading of a clock that only goes forwards, in seconds.
            at_once: do not wait for the end of a pause.
        """
        if self.change is None or self.ended_at is not None or (clock < self._next_attempt and not at_once):
            return False
        try:
            self.flag_after = self.change()
        except FlagGoneError as gone:
            self.problem, self.ended_at = str(gone), at
        except Exception as error:  # noqa: BLE001  # a vendor's client may fail in any way; it is tried again
            self.problem = f"{type(error).__name__}: {error}"
            self._next_attempt = clock + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            self.attempts += 1
        else:
            self.problem, self.ended_at = "", at
        return True

    def note(self, store: GuardStore) -> None:
        """Write to the store that the change was made, or why it was not.

        Raises:
            StoreError: that could not be written.
        """
        if self.number is None:
            return
        if self.ended_at is not None and self.is_noted:
            store.carried_out(self.number, at=self.ended_at, flag_after=self.flag_after)
            self._known_problem = ""
        if self.problem != self._known_problem:
            store.not_carried_out(self.number, self.problem)
            self._known_problem = self.problem


class FlagChanges:
    """The pending actions of one process.

    Args:
        store: where decisions are kept, and seen by the other processes of the machine.
        switch: changes flags; None if this process may not.
        tell: takes a migration and a sentence, when its flag cannot be changed at first, or at all.
        now: seconds since the epoch.
        clock: a clock that only goes forwards, in seconds.
    """

    def __init__(
        self,
        store: GuardStore,
        switch: FlagSwitch | None,
        *,
        tell: Callable[[str, str], None] | None = None,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._switch = switch
        self._tell = tell or (lambda *_: None)
        self._now = now
        self._clock = clock
        self._pending: list[PendingAction] = []
        self._left_since: dict[int, float] = {}

    def add(self, record: DecisionRecord, action: Action, *, epoch: int) -> None:
        """Add a decision that is not written yet."""
        change = self._change(record.migration, record.sentence, action)
        is_rollback = action is Action.ROLLBACK
        self._pending.append(
            PendingAction(migration=record.migration, change=change, record=record, epoch=epoch, is_noted=is_rollback)
        )

    def add_rollback(self, migration: str, *, because: str, number: int | None) -> None:
        """Add a rollback whose record, if there is one, is written already."""
        change = self._change(migration, because, Action.ROLLBACK)
        self._pending.append(PendingAction(migration=migration, change=change, number=number))

    def forget(self, migration: str) -> None:
        """Drop what is pending for a migration that was resumed."""
        self._pending = [pending for pending in self._pending if pending.migration != migration]

    def carry_on(self, *, at_once: bool = False) -> None:
        """Write down what was decided, make the changes that are due, and note what came of them.

        Args:
            at_once: make every change now, whatever pause is left: the process ends.

        Raises:
            StoreError: something could not be written; it is tried again by the next call.
        """
        for pending in [each for each in self._pending if each.record is not None]:
            self._write_down(pending)
        self.apply(at_once=at_once)
        for pending in list(self._pending):
            pending.note(self._store)
            if pending.is_over:
                self._pending.remove(pending)

    def apply(self, *, at_once: bool = False) -> None:
        """Make the changes that are due, also those that could not be written down. Never raises."""
        for pending in list(self._pending):
            if pending.attempt(at=self._now(), clock=self._clock(), at_once=at_once) and pending.problem:
                self._tell_problem(pending)

    def take_over(self, statuses: Iterable[GuardStatus], *, at_once: bool = False) -> None:
        """Turn off the flags that other processes were to turn off, and have not for a while; they may have died.

        Args:
            statuses: what holds on this machine.
            at_once: do not wait: this process begins, and who has decided so is gone.

        Raises:
            StoreError: the decision cannot be read.
        """
        due = {each.tripped_by: each for each in statuses if each.tripped_by is not None and not each.carried_out}
        known = {pending.number for pending in self._pending}
        moment = self._clock()
        self._left_since = {number: self._left_since.get(number, moment) for number in due.keys() - known}
        for number, since in list(self._left_since.items()):
            if self._switch is not None and (at_once or moment >= since + TAKE_OVER_SECONDS):
                record = self._store.record(number)
                because = "the guard had rolled it back" if record is None else record.sentence
                self.add_rollback(due[number].migration, because=because, number=number)

    def _change(self, migration: str, because: str, action: Action) -> Callable[[], str | None] | None:
        if self._switch is None:
            return None
        if action is Action.ROLLBACK:
            return partial(self._switch.turn_off, migration, because=because)
        return partial(self._switch.compare_more, migration, percent=MORE_COMPARISONS, because=because)

    def _write_down(self, pending: PendingAction) -> None:
        assert pending.record is not None  # noqa: S101  # what the caller has looked for
        due = pending.change is not None
        pending.number, is_new = self._store.decide_once(pending.record, epoch=pending.epoch, due=due)
        pending.record = None
        if not is_new:
            self._pending.remove(pending)  # another process applies it, or the migration was resumed meanwhile

    def _tell_problem(self, pending: PendingAction) -> None:
        if pending.ended_at is not None:
            self._tell(pending.migration, pending.problem)
        elif pending.attempts == 1:
            what = f"the flag could not be changed ({pending.problem})"
            self._tell(pending.migration, f"{what}; legacy serves on this machine, and it is tried again")
