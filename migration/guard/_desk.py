"""Carries the guard's decisions further, in a thread of its own: writes them down, changes the flags, tells others."""

from __future__ import annotations

import logging
import os
import queue
import threading
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING

from migration._errors import GuardStoreError
from migration._model import Notice, NoticeKind
from migration.guard._evidence import Evidence
from migration.guard._model import Action, BadCall, Ruling
from migration.guard._ports import Switch
from migration.guard._records import Record
from migration.guard._store import GuardStanding, GuardStore

if TYPE_CHECKING:
    from migration.guard._guard import Guard

ROUND_SECONDS = 1.0
"""Between two looks at what the other processes of the machine have seen and decided."""

MAX_WAITING = 10_000
"""Bad calls that wait to be written down; further ones stay this process's own knowledge."""

LONGEST_PAUSE = 30.0
"""Seconds between two attempts to change a flag; the first pauses are shorter. It is tried until it is done."""

MORE_COMPARISONS = 50
"""Percent of the calls that are compared while promotion is frozen."""

_logger = logging.getLogger("migration")


class Desk:
    """The thread and what it knows. It starts with the first thing that there is to do, and anew after a fork."""

    def __init__(
        self,
        guard: Guard,
        *,
        store: GuardStore,
        switch: Switch | None,
        now: Callable[[], float],
    ) -> None:
        self._guard = guard
        self._store = store
        self._switch = switch
        self.tell: Callable[[Notice], None] = _log
        self._now = now
        self.epochs: dict[str, int] = {}
        self._seen: dict[str, int] = {}
        self._due: dict[int, _Due] = {}
        self._failing = False
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self.process = uuid.uuid4().hex
        self._work: queue.Queue[Ruling | tuple[str, int, BadCall] | None] = queue.Queue(MAX_WAITING)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    # From the guard

    def latched_at_start(self) -> frozenset[str]:
        """What is rolled back already. A memory that cannot be read rolls nothing back, and says so."""
        try:
            standings = self._store.standings()
        except GuardStoreError as error:
            self._tell("", f"{error}; what was rolled back before is not known here")
            return frozenset()
        for standing in standings.values():
            self.epochs[standing.migration] = standing.epoch
            if standing.latched_by is not None and not standing.carried_out:
                self._due[standing.latched_by] = _Due(standing.migration, "the guard had rolled it back")
        if standings:
            self._start()
        return frozenset(name for name, standing in standings.items() if standing.latched_by is not None)

    def evidence_of(self, migration: str) -> Evidence:
        """What the processes of this machine have seen of the rollout so far."""
        self._start()
        epoch = self.epochs.setdefault(migration, 0)
        try:
            evidence, last = self._store.sum(migration=migration, epoch=epoch)
            for stored in self._store.calls_after(last, migration=migration, epoch=epoch):
                evidence.add(stored.call)
                last = stored.id
        except GuardStoreError as error:
            self._tell(migration, f"{error}; the evidence begins anew in this process")
            return Evidence()
        self._seen[migration] = last
        return evidence

    def keep(self, migration: str, call: BadCall) -> None:
        """Let a bad call be written down. Returns at once."""
        self._put((migration, self.epochs.get(migration, 0), call))

    def carry_out(self, ruling: Ruling) -> None:
        """Let a decision be written down and carried out. Returns at once."""
        self._put(ruling)

    def close(self, timeout: float) -> None:
        """Write down what waits, and stop."""
        self._closed.set()
        if self._thread is not None:
            self._put(None)
            self._thread.join(timeout)

    def _put(self, item: Ruling | tuple[str, int, BadCall] | None) -> None:
        try:
            self._work.put_nowait(item)
        except queue.Full:
            if isinstance(item, Ruling):
                threading.Thread(target=self._work.put, args=(item,), daemon=True).start()
        self._start()

    def _start(self) -> None:
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="migration-guard", daemon=True)
                    self._thread.start()

    # In the thread

    def _run(self) -> None:
        while True:
            items = self._taken()
            try:
                self._file(items)
                if not self._closed.is_set():
                    self._change_flags()
                    self._learn_from_others()
            except GuardStoreError as error:
                if not self._failing:
                    self._tell("", f"{error}; what is decided holds in this process, others learn of it by their flags")
                self._failing = True
            else:
                self._failing = False
            if self._closed.is_set() and self._work.empty():
                return

    def _taken(self) -> list[Ruling | tuple[str, int, BadCall]]:
        """What waits, after at most one round."""
        items = []
        try:
            items.append(self._work.get(timeout=ROUND_SECONDS))
            while len(items) < MAX_WAITING:
                items.append(self._work.get_nowait())
        except queue.Empty:
            pass
        return [item for item in items if item is not None]

    def _file(self, items: list[Ruling | tuple[str, int, BadCall]]) -> None:
        rulings = [item for item in items if isinstance(item, Ruling)]
        for ruling in rulings:  # first of all, and whatever else fails
            self._tell(ruling.migration, ruling.sentence)
        try:
            for ruling in rulings:
                self._write_down(ruling)
        finally:
            self._store.add_calls([item for item in items if not isinstance(item, Ruling)], process=self.process)

    def _write_down(self, ruling: Ruling) -> None:
        due = _Due(ruling.migration, ruling.sentence, action=ruling.action)
        try:
            number = self._store.decide(Record.of(ruling, by="guard"), due=self._switch is not None)
        except GuardStoreError:
            self._due[-id(due)] = due  # the flag is changed all the same
            raise
        self._due[number] = due

    def _change_flags(self) -> None:
        if self._switch is None:
            self._due.clear()
            return
        for number, due in list(self._due.items()):
            if due.next_try > self._now():
                continue
            try:
                after = due.change(self._switch)
            except Exception as error:  # noqa: BLE001  # a vendor's client may fail in any way; it is tried again
                due.failed(self._now())
                self._note_failure(number, due, error)
                continue
            del self._due[number]
            if number > 0 and due.action is Action.ROLLBACK:
                self._store.carried_out(number, at=self._now(), flag_after=after)

    def _note_failure(self, number: int, due: _Due, error: Exception) -> None:
        problem = f"{type(error).__name__}: {error}"
        if due.attempts == 1:
            self._tell(
                due.migration,
                f"the flag could not be changed ({problem}); legacy serves on this machine, and it is tried again",
            )
        if number > 0:
            self._store.not_carried_out(number, problem)

    def _learn_from_others(self) -> None:
        for standing in self._store.standings().values():
            self._follow(standing)
        for migration, last in list(self._seen.items()):
            epoch = self.epochs.get(migration, 0)
            for stored in self._store.calls_after(last, migration=migration, epoch=epoch):
                self._seen[migration] = stored.id
                if stored.process != self.process:
                    self._guard.take_in_foreign(migration, stored.call)

    def _follow(self, standing: GuardStanding) -> None:
        known = self.epochs.setdefault(standing.migration, standing.epoch)
        if standing.epoch > known:
            self._guard.begin_anew(standing.migration, epoch=standing.epoch)
            self._seen.pop(standing.migration, None)
        if standing.latched_by is not None:
            self._guard.latch(standing.migration)

    def _tell(self, migration: str, text: str) -> None:
        self.tell(Notice(kind=NoticeKind.GUARD, migration=migration, text=text))


def _log(notice: Notice) -> None:
    _logger.warning("%s: %s", notice.migration, notice.text)


class _Due:
    """A change of flags that has to be made."""

    def __init__(self, migration: str, because: str, *, action: Action = Action.ROLLBACK) -> None:
        self.migration = migration
        self.because = because
        self.action = action
        self.attempts = 0
        self.next_try = 0.0

    def change(self, switch: Switch) -> str | None:
        """Make it."""
        if self.action is Action.ROLLBACK:
            return switch.turn_off(self.migration, because=self.because)
        switch.compare_more(self.migration, percent=MORE_COMPARISONS, because=self.because)
        return None

    def failed(self, now: float) -> None:
        """Try again a little later, each time twice as much."""
        self.next_try = now + min(LONGEST_PAUSE, 0.25 * 2.0 ** min(self.attempts, 10))
        self.attempts += 1
