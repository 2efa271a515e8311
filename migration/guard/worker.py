"""The guard's worker: writes down what the guard saw and decided, applies it, and follows the other processes."""

from __future__ import annotations

import logging
import sqlite3
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from migration.guard.evidence import Trail
from migration.guard.flag_changes import NO_SWITCH, FlagChanges
from migration.guard.model import Action, BadCall, CandidateResult, DecisionRecord, FlagSwitch, Ruling
from migration.guard.store import GuardStatus, GuardStore, add_calls, add_made
from migration.model.errors import StoreError, StoreRefusedError
from migration.model.model import Notice, NoticeKind
from migration.store.writer import Writer

ROUND_SECONDS = 1.0
"""Between two looks at what the other processes of the machine have seen and decided, and at calls that hang."""

RECALL_SECONDS = 0.1
"""How long a first call of a migration may wait for the evidence of earlier processes."""

_logger = logging.getLogger("migration")


@dataclass(frozen=True, slots=True)
class _Decided:
    """A ruling, and the epoch whose evidence it follows from."""

    ruling: Ruling
    epoch: int


_Kept = CandidateResult | tuple[str, int, BadCall]


_LEGACY_SERVES = "legacy serves until it can be"


class Follower(Protocol):
    """The guard of this process, as far as its worker tells it of other processes and of the time."""

    def trip(self, migration: str) -> None:
        """Let legacy serve every further call."""
        ...

    def restart(self, migration: str, *, epoch: int) -> None:
        """Follow the flags again, and gather evidence from nothing."""
        ...

    def take_in_foreign(self, migration: str, call: BadCall) -> None:
        """Take in a bad call of another process."""
        ...

    def look_back(self) -> None:
        """Rule on what earlier processes have written down."""
        ...

    def look_for_hangs(self) -> None:
        """Take in the runs that hang."""
        ...


class GuardWorker(Writer[_Kept]):
    """Does what may block, in a thread that starts with the first thing to do, and again after a fork.

    Args:
        guard: follows what other processes decide.
        store: shared with the other processes of the machine.
        switch: changes flags; None if this process may not.
        check_state: looks at further files of this machine; what it raises is treated as what the store raises.
        now: seconds since the epoch.
        clock: a clock that only goes forwards, in seconds.
    """

    def __init__(
        self,
        guard: Follower,
        *,
        store: GuardStore,
        switch: FlagSwitch | None,
        check_state: Callable[[], object] = lambda: None,
        now: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._guard = guard
        self._store = store
        self._switch = switch
        self._check_state = check_state
        self.tell: Callable[[Notice], None] = _log
        self._now = now
        self._clock = clock
        self.epochs: dict[str, int] = {}
        self.refusal: str | None = None  # why what was rolled back cannot be known here: until then legacy serves
        self._failing = False
        super().__init__(store.database, name="migration-guard", gather_seconds=ROUND_SECONDS, periodic=True)

    def begin_in_child(self) -> None:
        """Begin with nothing to do; the parent has the rest."""
        super().begin_in_child()
        self.process = uuid.uuid4().hex
        self._rulings: deque[_Decided] = deque()
        self._seen: dict[str, int] = {}
        self._changes = FlagChanges(self._store, self._switch, tell=self._tell, now=self._now, clock=self._clock)

    # Called by the guard

    def tripped_at_start(self) -> frozenset[str]:
        """What is rolled back already. A store that cannot be read rolls nothing back, and a notice says so.

        One that another version of the program keeps lets legacy serve until it can be read.
        """
        try:
            statuses = self._store.statuses()
            self.epochs.update({name: status.epoch for name, status in statuses.items()})
            self._changes.take_over(statuses.values(), at_once=True)
            self._check_state()
        except StoreError as error:
            self.refusal = str(error) if isinstance(error, StoreRefusedError) else None
            self._tell("", f"{error}; {_LEGACY_SERVES if self.refusal else 'what was rolled back is not known here'}")
            return frozenset()
        return frozenset(name for name, status in statuses.items() if status.tripped_by is not None)

    def known_at_start(self) -> list[str]:
        """The migrations of which there is evidence, to be recalled before the first call."""
        try:
            return self._store.migrations()
        except StoreError:
            return []  # `tripped_at_start` has told it

    def trail_of(self, migration: str) -> Trail:
        """What the processes of this machine have seen of the rollout so far."""
        epoch = self.epochs.setdefault(migration, 0)
        try:
            trail, last = self._store.trail(migration=migration, epoch=epoch, write_timeout=RECALL_SECONDS)
        except StoreError as error:
            self._tell(migration, f"{error}; the evidence begins with nothing in this process")
            trail, last = Trail(), 0
        self._seen[migration] = last
        return trail

    def keep(self, migration: str, call: BadCall) -> None:
        """Have a bad call written down. Returns at once."""
        self.put((migration, self.epochs.get(migration, 0), call), urgent=True)

    def keep_result(self, result: CandidateResult) -> None:
        """Have it written down what a call has made. Returns at once."""
        self.put(result, urgent=True)

    def carry_out(self, ruling: Ruling) -> None:
        """Have a ruling written down and applied. Returns at once."""
        self._rulings.append(_Decided(ruling, self.epochs.get(ruling.migration, 0)))
        self.wake()

    # In the thread

    def write(self, database: sqlite3.Connection, items: Sequence[_Kept]) -> None:
        """Add bad calls and results."""
        add_calls(database, [item for item in items if isinstance(item, tuple)], process=self.process)
        add_made(database, [item for item in items if isinstance(item, CandidateResult)])

    def written(self, items: Sequence[_Kept]) -> None:  # noqa: ARG002  # the hook's
        """Apply what was decided, and follow the others."""
        self._work(None)

    def failed(self, items: Sequence[_Kept], error: Exception) -> Sequence[_Kept]:
        """Apply what was decided all the same; what was not written is tried again."""
        self._work(error)
        return items

    def _work(self, failure: Exception | None) -> None:
        while self._rulings:
            decided = self._rulings[0]
            self._decided(decided.ruling, decided.epoch)
            self._rulings.popleft()  # not before: the thread may be ended in between
        try:
            self._round(failure)
        except StoreError as error:
            if isinstance(error, StoreRefusedError):
                self.refusal = str(error)
            follows = _LEGACY_SERVES if self.refusal else "what is decided holds in this process"
            self._say_once(f"{error}; {follows}, others learn of it by their flags")
            self._changes.apply(at_once=self.is_ending)
        except Exception as error:
            _logger.debug("a round of the guard failed", exc_info=True)
            self._say_once(f"the guard's own work failed ({type(error).__name__}: {error}); calls are unaffected")
        else:
            self._failing = False

    def _round(self, failure: Exception | None) -> None:
        self._guard.look_for_hangs()
        if failure is not None:
            raise failure
        self._changes.carry_on(at_once=self.is_ending)
        if not self.is_ending:
            self._learn_from_others()

    def _say_once(self, text: str) -> None:
        if not self._failing:
            self._tell("", text)
        self._failing = True

    def _decided(self, ruling: Ruling, epoch: int) -> None:
        self._tell(ruling.migration, ruling.sentence)
        problem = NO_SWITCH if self._switch is None and ruling.action is Action.ROLLBACK else None
        if problem is not None:
            self._tell(ruling.migration, problem)
        self._changes.add(DecisionRecord.of(ruling, by="guard", problem=problem), ruling.action, epoch=epoch)

    def _learn_from_others(self) -> None:
        statuses = self._store.statuses()
        for status in statuses.values():
            self._follow(status)
        self._changes.take_over(statuses.values())
        self._check_state()
        if self.refusal is not None:
            self._guard.look_back()
            self.refusal = None
        for migration, last in list(self._seen.items()):
            epoch = self.epochs.get(migration, 0)
            for stored in self._store.calls_after(last, migration=migration, epoch=epoch):
                self._seen[migration] = stored.id
                if stored.process != self.process:
                    self._guard.take_in_foreign(migration, stored.call)

    def _follow(self, status: GuardStatus) -> None:
        known = self.epochs.setdefault(status.migration, status.epoch)
        if status.epoch > known:
            self._guard.restart(status.migration, epoch=status.epoch)
            self._seen.pop(status.migration, None)
            self._changes.forget(status.migration)
        if status.tripped_by is not None:
            self._guard.trip(status.migration)

    def _tell(self, migration: str, text: str) -> None:
        self.tell(Notice(kind=NoticeKind.GUARD, migration=migration, text=text))


def _log(notice: Notice) -> None:
    _logger.warning("%s: %s", notice.migration, notice.text)
