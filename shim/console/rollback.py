"""Rolls a migration back by hand: trips it on this machine first, then turns its flag off.

The trip is a decision in the guard's file, which every process of the machine follows within a second, whether Unleash
can be reached or not. The flag is turned off by `FlagChanges`, here or, if the console ends first, in another process.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from migration.guard import NO_SWITCH, DecisionRecord, FlagChanges, FlagSwitch, GuardStore
from migration.model import StoreError
from shim.errors import ShimError

ROUND_SECONDS = 0.25
"""Between two looks for flags that are to be turned off."""

MOST_REASON = 200
"""Characters of a reason."""

_logger = logging.getLogger(__name__)


class NotTrippedError(ShimError):
    """The guard's file could not be written, so this machine's processes follow only the flag."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolledBack:
    """What a rollback came to.

    Attributes:
        number: of the decision.
        sentence: it in words.
        new: False if the migration had been rolled back before.
    """

    number: int
    sentence: str
    new: bool


class RollBack:
    """Trips migrations, and turns their flags off in a thread of its own.

    Args:
        store: the guard's file.
        switch: changes flags; None if this process may not.
        now: seconds since the epoch.
    """

    def __init__(self, store: GuardStore, switch: FlagSwitch | None, *, now: Callable[[], float] = time.time) -> None:
        self._store = store
        self._switch = switch
        self._now = now
        self._changes = FlagChanges(store, switch, now=now)
        self._wake = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="console-rollback", daemon=True)

    def start(self) -> None:
        """Begin to look for flags that are to be turned off."""
        self._thread.start()

    def close(self, timeout: float = 2.0) -> None:
        """Try once more and stop, within about `timeout` seconds; what is left is taken over by another process."""
        self._ended = True
        self._wake.set()
        self._thread.join(timeout)

    def roll_back(self, migration: str, *, because: str, by: str) -> RolledBack:
        """Let legacy serve every call of this machine, and begin to turn the flag off.

        Raises:
            NotTrippedError: the first could not be written down; the second has begun all the same.
        """
        reason = " ".join(because.split())[:MOST_REASON] or "no reason was given"
        sentence = f"{migration} was rolled back by hand by {by}: {reason}."
        problem = NO_SWITCH if self._switch is None else None
        record = DecisionRecord(
            at=self._now(), migration=migration, action="rollback", by=by, sentence=sentence, problem=problem
        )
        try:
            number, new = self._store.decide_once(record, due=self._switch is not None)
        except StoreError as error:
            self._changes.add_rollback(migration, because=sentence, number=None)
            self._wake.set()
            raise NotTrippedError(f"{error}; the flag is being turned off, which other processes follow") from error
        if new:
            self._changes.add_rollback(migration, because=sentence, number=number)
            self._wake.set()
        return RolledBack(number=number, sentence=sentence, new=new)

    # In the thread

    def _run(self) -> None:
        ended = False
        while not ended:
            self._wake.wait(ROUND_SECONDS)
            self._wake.clear()
            ended = self._ended
            try:
                self._changes.carry_on(at_once=ended)
                self._changes.take_over(self._store.statuses().values())
            except StoreError as error:
                _logger.debug("%s", error)  # the page says so: it reads the same file
