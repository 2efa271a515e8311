"""Writes to one database in a thread of its own, many items in one transaction (group commit).

Handing an item over costs a caller microseconds. The connection stays open while there is work, and a fork closes it.
"""

from __future__ import annotations

import atexit
import logging
import sqlite3
import threading
import weakref
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Generic, TypeVar

from migration.forking import close_before_fork, renew_in_child, unforked
from migration.model.errors import StoreError
from migration.store.database import Database, file_identity
from migration.threads import BackgroundThread

MAX_WAITING = 10_000
"""Items that wait to be written; further ones are refused."""

MAX_BATCH = 5_000
"""Items of one transaction."""

RETRY_SECONDS = 1.0
"""How long until items that could not be written, and that are not lost, are tried again."""

IDLE_SECONDS = 5.0
"""After how long without work the thread ends and the file is closed."""

EXIT_SECONDS = 2.0
"""How long the end of the process waits for what is to be written, for each writer."""

Item = TypeVar("Item")
_logger = logging.getLogger("migration")


class Writer(Generic[Item]):
    """The thread, its bounded queue, and its connection. A subclass says what an item is and how it is written.

    Args:
        database: where to.
        name: the thread's.
        gather_seconds: how long items that no caller waits for are gathered for one transaction.
        write_timeout: seconds that a transaction waits for another process's lock; as `Database.connect` by default.
        periodic: whether a transaction is made every `gather_seconds`, from the first item to `close`.
    """

    def __init__(
        self,
        database: Database,
        *,
        name: str,
        gather_seconds: float,
        write_timeout: float | None = None,
        periodic: bool = False,
    ) -> None:
        self.database = database
        self.gather_seconds = gather_seconds
        self.write_timeout = write_timeout
        self._periodic = periodic
        self._thread = BackgroundThread(self._run, name=name)
        self.begin_in_child()
        _writers.add(self)
        renew_in_child(self)
        close_before_fork(self)

    # What a subclass says; all of it is called in the thread

    def write(self, database: sqlite3.Connection, items: Sequence[Item]) -> None:
        """Write items within the open transaction."""
        raise NotImplementedError

    def wanted(self, items: Sequence[Item]) -> Sequence[Item]:
        """Those that are still to be written."""
        return items

    def is_needed(self, items: Sequence[Item]) -> bool:
        """Whether these are worth a transaction."""
        return bool(items)

    def written(self, items: Sequence[Item]) -> None:
        """Learn that the transaction is committed."""

    def failed(self, items: Sequence[Item], error: Exception) -> Sequence[Item]:
        """Learn that nothing was written, mostly by a `StoreError`; returns the items that are tried again."""
        raise NotImplementedError

    # For everybody

    def put(self, item: Item, *, urgent: bool = False, start: bool = True) -> bool:
        """Hand an item over; never waits. Returns whether there was room.

        Args:
            item: what is to be written.
            urgent: a caller waits for it: it is written at once, and all the way to the disk.
            start: whether the thread is to begin with it, if it does not run.
        """
        return self._put(item, urgent=urgent, start=start)

    def wake(self) -> None:
        """Have the thread do its work now, also without an item."""
        with self._arrival:
            self._urgent += 1
            self.start()
            self._arrival.notify()

    @property
    def is_ending(self) -> bool:
        """Whether the thread, which asks, does its last work."""
        return self._done

    def start(self) -> None:
        """Let the thread run, unless it is closed; a periodic one writes from now on."""
        if not self._closed:
            self._thread.start()

    def write_if_alone(self) -> None:
        """Write all that waits in this thread if the system has no other one for it, as a caller waits for it."""
        if not self._thread.running:
            self._write_here()

    def flush(self, timeout: float) -> bool:
        """Wait until everything handed over so far is written or lost, at most `timeout` seconds; is it?"""
        if not self._thread.running and not self._waiting:
            return True
        settled = _Flush()
        if not self._put(settled, urgent=True):
            return False
        self.write_if_alone()
        try:
            return settled.result(timeout)
        except TimeoutError:
            return False

    def disconnect(self) -> None:
        """Close the file, once what is being written is; the next item opens it again. Blocks."""
        with unforked(), self._in_use:
            self._disconnect()

    def close(self, timeout: float = EXIT_SECONDS) -> None:
        """Write what is left and end the thread, within about `timeout` seconds; no item is taken any more."""
        with self._arrival:
            self._closed = True
            self._arrival.notify()
        if self._thread.running:
            self._thread.join(timeout)
        elif self._waiting or self._urgent:
            self._write_here()

    def before_fork(self) -> None:
        """Close the file: a child would inherit what SQLite believes to be locked, and spoil it."""
        if self._in_use.acquire(blocking=False):
            self._disconnect()
            self._in_use.release()

    def begin_in_child(self) -> None:
        """Begin with nothing: a fork carries neither the thread over nor its work, which stays the parent's."""
        self._arrival = threading.Condition(threading.RLock())
        self._waiting: deque[Item | _Flush] = deque()
        self._urgent = 0
        self._closed = False
        self._done = False  # closed, and nothing is left to be written
        self._retrying = False
        self._in_use = threading.Lock()  # held while the connection is used
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None  # which file the connection has open

    def _put(self, item: Item | _Flush, *, urgent: bool, start: bool = True) -> bool:
        with self._arrival:
            full = len(self._waiting) >= MAX_WAITING and not isinstance(item, _Flush)
            if self._closed or full:
                return False
            news = not self._waiting or (urgent and not self._urgent)
            self._waiting.append(item)
            self._urgent += urgent
            if start:
                self.start()
            if news:
                self._arrival.notify()
            return True

    # In the thread

    def _run(self) -> None:
        while (taken := self._next_batch()) is not None:
            batch, durable = taken
            self._write_batch(batch, durable=durable)
            del taken, batch  # what is written is not kept until something else is

    def _write_here(self) -> None:
        for _ in range(0, MAX_WAITING + 1, MAX_BATCH):
            with self._arrival:
                batch, durable = self._taken()
            if self._write_batch(batch, durable=durable) or not self._waiting:
                return  # what could not be written is tried again

    def _write_batch(self, batch: Sequence[Item | _Flush], *, durable: bool) -> bool:
        """Write it, and tell those that wait for it; whether a part of it is to be tried again."""
        items: Sequence[Item] = [item for item in batch if not isinstance(item, _Flush)]
        again: Sequence[Item] = ()
        try:
            items = self.wanted(items)
            if self.is_needed(items):
                self._commit(items, durable=durable)
        except Exception as error:  # noqa: BLE001  # whatever it is, the thread goes on and the subclass says so
            again = self.failed(items, error)
        except BaseException as error:
            again = self.failed(items, StoreError(self.database.path, f"{type(error).__name__} ended the writing"))
            raise
        else:
            self.written(items)
        finally:
            self._put_back(again)
            for item in batch:
                if isinstance(item, _Flush):
                    item.set_result(not again)
        return bool(again)

    def _next_batch(self) -> tuple[list[Item | _Flush], bool] | None:
        """What waits, as soon as it is urgent or was gathered for long enough, and whether it is; None at the end."""
        while True:
            with self._arrival:
                if not self._done and (self._periodic or self._arrival.wait_for(self._has_work, IDLE_SECONDS)):
                    pause = RETRY_SECONDS if self._retrying else self.gather_seconds
                    self._arrival.wait_for(self._is_due, pause)
                    return self._taken()
            self.disconnect()
            with self._arrival:
                if not self._waiting:
                    self._thread.retire()
                    return None

    def _taken(self) -> tuple[list[Item | _Flush], bool]:
        batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_BATCH))]
        durable = self._urgent > 0
        if not self._waiting:
            self._urgent = 0
            self._done = self._closed
        return batch, durable

    def _has_work(self) -> bool:
        return bool(self._waiting) or self._closed

    def _is_due(self) -> bool:
        return self._urgent > 0 or self._closed or len(self._waiting) >= MAX_BATCH

    def _commit(self, items: Sequence[Item], *, durable: bool) -> None:
        """Write it all in one transaction, which reaches the disk if a caller waits for it, else the system's cache."""
        with unforked(), self._in_use:
            database = self._connected()
            try:
                with self.database.errors():
                    database.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
                    database.execute("BEGIN IMMEDIATE")
                    self.write(database, items)
                    database.execute("COMMIT")
            except BaseException:
                self._disconnect()  # which rolls back
                raise

    def _put_back(self, items: Sequence[Item]) -> None:
        if self._done:
            return  # it is closed, and they are lost
        self._retrying = bool(items)
        with self._arrival:
            for item in reversed(items):
                if len(self._waiting) < MAX_WAITING:
                    self._waiting.appendleft(item)

    def _connected(self) -> sqlite3.Connection:
        """The connection, or another one if the file was removed, replaced or upgraded by a newer program."""
        current = self._connection is not None and self.database.is_current(self._connection)
        if not current or self._identity != file_identity(self.database.path):
            self._disconnect()
            self._connection = self.database.connect(self.write_timeout)
            self._identity = file_identity(self.database.path)
        assert self._connection is not None  # noqa: S101  # it is current, or was just made
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()


class _Flush(Future[bool]):
    """Comes after the items that are waited for."""


_writers: weakref.WeakSet[Writer[Any]] = weakref.WeakSet()


def _flush_all() -> None:
    for writer in tuple(_writers):
        writer.flush(EXIT_SECONDS)


atexit.register(_flush_all)
