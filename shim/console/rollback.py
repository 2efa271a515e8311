"""Rolling a migration back by hand: tripped on this machine first, then the flag is turned off, until it is off.

The trip is a decision in the guard's file, which every process of the machine follows within a second, whether Unleash
can be reached or not. The flag follows: it is tried again until it is off, here and, should the console end, by the
guards of the other processes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from migration.guard import DecisionRecord, GuardStatus, GuardStore
from migration.model import GuardStoreError
from shim.errors import ShimError

FIRST_PAUSE = 0.25
LONGEST_PAUSE = 5.0
"""Seconds between two attempts to turn a flag off, each pause twice the one before. It is tried until it is off."""

LEFT_BY_OTHERS_SECONDS = 10.0
"""After which a flag is turned off here that the process which decided so was to turn off, and has not."""

MOST_REASON = 200
"""Characters of a reason."""

NO_SWITCH = "the flag cannot be changed from here: turn it off by hand for the other machines"

_DOUBLINGS = 10
_logger = logging.getLogger(__name__)


class TurnsOff(Protocol):
    """Turns flags off; what it raises means that it could not."""

    def turn_off(self, migration: str, *, because: str) -> str | None:
        """Turn a flag off, and give its state then."""
        ...


class NotTrippedError(ShimError):
    """The guard's file could not be written, so this machine's processes follow only the flag."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolledBack:
    """What a roll-back came to.

    Attributes:
        number: of the decision.
        sentence: it in words.
        new: False if it had been rolled back before.
    """

    number: int
    sentence: str
    new: bool


@dataclass(slots=True)
class _Attempts:
    number: int = 0
    next_at: float = 0.0
    problem: str = ""


class RollBack:
    """Trips, and turns flags off in a thread of its own.

    Args:
        store: the guard's file.
        switch: changes the flags; None if that is not allowed here.
        now: the clock, in seconds since the epoch.
        clock: what pauses are measured with, in seconds.
    """

    def __init__(
        self,
        store: GuardStore,
        switch: TurnsOff | None,
        *,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._switch = switch
        self._now = now
        self._clock = clock
        self._own: set[int] = set()
        self._untripped: dict[str, str] = {}
        self._attempts: dict[str, _Attempts] = {}
        self._hurry = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="console-rollback", daemon=True)

    def start(self) -> None:
        """Begin to look for flags that are to be turned off."""
        self._thread.start()

    def close(self, timeout: float = 2.0) -> None:
        """Stop, within about `timeout` seconds; what is left is carried out by the guards, or at the next start."""
        self._ended = True
        self._hurry.set()
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
        except GuardStoreError as error:
            self._untripped[migration] = sentence
            self._hurry.set()
            raise NotTrippedError(f"{error}; the flag is being turned off, which other processes follow") from error
        self._own.add(number)
        self._hurry.set()
        return RolledBack(number=number, sentence=sentence, new=new)

    # In the thread

    def _run(self) -> None:
        while not self._ended:
            self._hurry.wait(FIRST_PAUSE)
            self._hurry.clear()
            try:
                self._look()
            except GuardStoreError as error:
                _logger.debug("%s", error)  # the page says so, it reads the same file

    def _look(self) -> None:
        switch = self._switch
        if switch is None:
            return
        for migration, sentence in list(self._untripped.items()):
            if self._try(switch, migration, sentence) is None:
                self._untripped.pop(migration)
        for standing in self._store.statuses().values():
            if standing.tripped_by is not None and not standing.carried_out and self._is_ours(standing):
                self._carry_out(switch, standing.migration, standing.tripped_by)

    def _is_ours(self, standing: GuardStatus) -> bool:
        """Whether it was decided here, or the process that decided it has left it."""
        if standing.tripped_by in self._own:
            return True
        record = None if standing.tripped_by is None else self._store.record(standing.tripped_by)
        return record is None or record.at <= self._now() - LEFT_BY_OTHERS_SECONDS

    def _carry_out(self, switch: TurnsOff, migration: str, number: int) -> None:
        record = self._store.record(number)
        sentence = f"{migration} was rolled back." if record is None else record.sentence
        problem = self._try(switch, migration, sentence)
        if problem is None:
            self._store.carried_out(number, at=self._now(), flag_after="off")
        elif record is not None and record.problem != problem:
            self._store.not_carried_out(number, problem)

    def _try(self, switch: TurnsOff, migration: str, because: str) -> str | None:
        """Turn a flag off, if it is time to; None once it is off, else why it is not."""
        attempts = self._attempts.setdefault(migration, _Attempts())
        if self._clock() < attempts.next_at:
            return attempts.problem
        try:
            switch.turn_off(migration, because=because)
        except Exception as error:  # noqa: BLE001  # a vendor's client may fail in any way; it is tried again
            attempts.problem = f"{type(error).__name__}: {error}"
            attempts.next_at = self._clock() + min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(attempts.number, _DOUBLINGS))
            attempts.number += 1
            return attempts.problem
        self._attempts.pop(migration)
        return None
