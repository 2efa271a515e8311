"""Carries the guard's decisions further, in a thread of its own: writes them down, changes the flags, tells others."""

from __future__ import annotations

import logging
import queue
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from migration.guard.model import Action, BadCall, FlagSwitch, Ruling
from migration.guard.records import CandidateResult, DecisionRecord, Trail
from migration.guard.store import GuardStatus, GuardStore
from migration.model.errors import GuardStoreError
from migration.model.model import Notice, NoticeKind

MORE_COMPARISONS = 50
"""Percent of the calls that are compared while promotion is frozen."""

FIRST_PAUSE = 0.25
LONGEST_PAUSE = 5.0
"""Seconds between two attempts to change a flag, each pause twice the one before. It is tried until it is done."""


class PendingAction:
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

    def change(self, switch: FlagSwitch, *, at: float) -> None:
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


# Carries the guard's decisions further, in a thread of its own: writes them down, changes the flags, tells others.

ROUND_SECONDS = 1.0
"""Between two looks at what the other processes of the machine have seen and decided, and at calls that hang."""

MAX_WAITING = 10_000
"""Bad calls and results that wait to be written down; further ones stay this process's own knowledge."""

RECALL_SECONDS = 0.1
"""How long a first call of a migration may wait for the evidence of earlier processes."""

ADOPT_ROUNDS = 10
"""Rounds after which a flag that another process was to change, and has not, is changed by this one."""

NO_SWITCH = (
    "nobody here may change the flag: legacy serves on this machine only, so turn the flag off for all others by hand"
)


@dataclass(frozen=True, slots=True)
class _Decided:
    """A decision, and the epoch whose evidence it follows from."""

    ruling: Ruling
    epoch: int


_Kept = _Decided | CandidateResult | tuple[str, int, BadCall]

_logger = logging.getLogger("migration")


class Follower(Protocol):
    """The guard of this process, as far as the desk lets it follow the other processes and the clock."""

    def trip(self, migration: str) -> None: ...  # noqa: D102  # as the guard has it
    def restart(self, migration: str, *, epoch: int) -> None: ...  # noqa: D102  # as the guard has it
    def take_in_foreign(self, migration: str, call: BadCall) -> None: ...  # noqa: D102  # as the guard has it
    def look_for_hangs(self) -> None: ...  # noqa: D102  # as the guard has it


class GuardWorker:
    """The guard's background worker: a thread that starts with the first thing to do, and anew after a fork."""

    def __init__(
        self,
        guard: Follower,
        *,
        store: GuardStore,
        switch: FlagSwitch | None,
        now: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._guard = guard
        self._store = store
        self._switch = switch
        self.tell: Callable[[Notice], None] = _log
        self._now = now
        self._clock = clock
        self.epochs: dict[str, int] = {}
        self._failing = False
        self.reset()

    def reset(self) -> None:
        """Begin with nothing to do, as in a process that was just forked; the parent has the rest."""
        self.process = uuid.uuid4().hex
        self._work: queue.Queue[_Kept | None] = queue.Queue(MAX_WAITING)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()
        self._seen: dict[str, int] = {}
        self._cases: list[PendingAction] = []
        self._overdue: dict[int, int] = {}

    # From the guard

    def tripped_at_start(self) -> frozenset[str]:
        """What is rolled back already. A memory that cannot be read rolls nothing back, and says so."""
        try:
            statuses = self._store.statuses()
            for status in statuses.values():
                self.epochs[status.migration] = status.epoch
                if status.tripped_by is not None and not status.carried_out:
                    self._adopt(status)
        except GuardStoreError as error:
            self._tell("", f"{error}; what was rolled back before is not known here")
            return frozenset()
        return frozenset(name for name, status in statuses.items() if status.tripped_by is not None)

    def known_at_start(self) -> list[str]:
        """The migrations of which there is evidence, to be recalled before the first call."""
        try:
            return self._store.migrations()
        except GuardStoreError:
            return []  # has been told

    def trail_of(self, migration: str) -> Trail:
        """What the processes of this machine have seen of the rollout so far."""
        epoch = self.epochs.setdefault(migration, 0)
        try:
            trail, last = self._store.trail(migration=migration, epoch=epoch, patience=RECALL_SECONDS)
        except GuardStoreError as error:
            self._tell(migration, f"{error}; the evidence begins anew in this process")
            trail, last = Trail(), 0
        self._seen[migration] = last
        return trail

    def keep(self, migration: str, call: BadCall) -> None:
        """Let a bad call be written down. Returns at once."""
        self._put((migration, self.epochs.get(migration, 0), call))

    def keep_made(self, made: CandidateResult) -> None:
        """Let it be written down what a call has made. Returns at once."""
        self._put(made)

    def carry_out(self, ruling: Ruling) -> None:
        """Let a decision be written down and carried out. Returns at once."""
        self._put(_Decided(ruling, self.epochs.get(ruling.migration, 0)))

    def close(self, timeout: float) -> None:
        """Write down what waits, try once more to change the flags, and stop."""
        self._closed.set()
        if self._thread is not None:
            self._put(None)
            self._thread.join(timeout)

    def start(self) -> None:
        """Have the thread run."""
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="migration-guard", daemon=True)
                    self._thread.start()

    def _put(self, item: _Kept | None) -> None:
        try:
            self._work.put_nowait(item)
        except queue.Full:
            if isinstance(item, _Decided):
                threading.Thread(target=self._work.put, args=(item,), daemon=True).start()
        self.start()

    # In the thread

    def _run(self) -> None:
        ended, wait = False, 0.0
        while not ended:
            items = self._taken(wait)
            wait = ROUND_SECONDS
            ended = self._closed.is_set() and self._work.empty()
            try:
                self._guard.look_for_hangs()
                self._file(items)
                self._settle(hurry=ended)
                if not ended:
                    self._learn_from_others()
            except GuardStoreError as error:
                self._say_once(f"{error}; what is decided holds in this process, others learn of it by their flags")
                self._change_flags(hurry=ended)
            except Exception as error:
                _logger.debug("a round of the guard failed", exc_info=True)
                self._say_once(f"the guard's own work failed ({type(error).__name__}: {error}); calls are unaffected")
            else:
                self._failing = False

    def _say_once(self, text: str) -> None:
        if not self._failing:
            self._tell("", text)
        self._failing = True

    def _taken(self, wait: float) -> list[_Kept]:
        """What there is to do, after at most `wait` seconds."""
        items = []
        try:
            items.append(self._work.get(timeout=wait))
            while len(items) < MAX_WAITING:
                items.append(self._work.get_nowait())
        except queue.Empty:
            pass
        return [item for item in items if item is not None]

    def _file(self, items: list[_Kept]) -> None:
        for item in items:
            if isinstance(item, _Decided):  # first of all, and whatever else fails
                ruling = item.ruling
                self._tell(ruling.migration, ruling.sentence)
                if ruling.action is Action.ROLLBACK and self._switch is None:
                    self._tell(ruling.migration, NO_SWITCH)
                case = PendingAction(
                    ruling.migration, ruling.sentence, action=ruling.action, ruling=ruling, epoch=item.epoch
                )
                self._cases.append(case)
        try:
            self._store.add_calls([item for item in items if isinstance(item, tuple)], process=self.process)
        finally:
            self._store.add_made([item for item in items if isinstance(item, CandidateResult)])

    def _settle(self, *, hurry: bool) -> None:
        """Write down what was decided, change the flags, and note that they are changed."""
        for case in [case for case in self._cases if case.ruling is not None]:
            self._write_down(case)
        self._change_flags(hurry=hurry)
        for case in [case for case in self._cases if case.done]:
            if case.number is not None and case.changed_at is not None and case.action is Action.ROLLBACK:
                self._store.carried_out(case.number, at=case.changed_at, flag_after=case.flag_after)
            self._cases.remove(case)
        for case in self._cases:
            if case.problem and case.number is not None:
                self._store.not_carried_out(case.number, case.problem)

    def _write_down(self, case: PendingAction) -> None:
        assert case.ruling is not None  # noqa: S101  # what the caller has looked for
        missing = NO_SWITCH if self._switch is None and case.action is Action.ROLLBACK else None
        record = DecisionRecord.of(case.ruling, by="guard", problem=missing)
        case.number, new = self._store.decide_once(record, epoch=case.epoch, due=self._switch is not None)
        case.ruling = None
        if not new:
            self._cases.remove(case)  # another process carries it out, or somebody has resumed the migration

    def _change_flags(self, *, hurry: bool) -> None:
        if self._switch is None:
            self._cases = [case for case in self._cases if case.ruling is not None]
            return
        for case in self._cases:
            if not case.is_due(self._clock(), hurry=hurry):
                continue
            try:
                case.change(self._switch, at=self._now())
            except Exception as error:  # noqa: BLE001  # a vendor's client may fail in any way; it is tried again
                case.failed(self._clock(), f"{type(error).__name__}: {error}")
                if case.attempts == 1:
                    self._tell(
                        case.migration,
                        f"the flag could not be changed ({case.problem}); legacy serves on this machine, and it is "
                        "tried again",
                    )

    def _learn_from_others(self) -> None:
        for status in self._store.statuses().values():
            self._follow(status)
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
            self._cases = [case for case in self._cases if case.migration != status.migration]
        if status.tripped_by is not None:
            self._guard.trip(status.migration)
            if not status.carried_out and not any(case.number == status.tripped_by for case in self._cases):
                rounds = self._overdue[status.tripped_by] = self._overdue.get(status.tripped_by, 0) + 1
                if rounds >= ADOPT_ROUNDS:
                    self._adopt(status)

    def _adopt(self, status: GuardStatus) -> None:
        """Change the flag in the place of a process that has not; it may have died."""
        assert status.tripped_by is not None  # noqa: S101  # what the callers have looked for
        self._overdue.pop(status.tripped_by, None)
        record = self._store.record(status.tripped_by)
        because = "the guard had rolled it back" if record is None else record.sentence
        self._cases.append(PendingAction(status.migration, because, number=status.tripped_by))

    def _tell(self, migration: str, text: str) -> None:
        self.tell(Notice(kind=NoticeKind.GUARD, migration=migration, text=text))


def _log(notice: Notice) -> None:
    _logger.warning("%s: %s", notice.migration, notice.text)
