"""The journal that many machines share: a table in Supabase's Postgres, with SQLite on this machine as its stand-in."""

from __future__ import annotations

import atexit
import time
import weakref
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeVar

from shim.primitives import new_lock, renew_in_child
from tools.journal.port import NOTHING_NEW, Entry, Facts, Intent, JournalError, JournalStatus, Opened, Opening, State
from tools.journal.sqlite import OWNERS, SqliteJournal
from tools.journal.supabase_client import AwayError, FleetOwner, LoopThread, TableClient, UnusableError
from tools.journal.supabase_remote import Remote
from tools.journal.supabase_writing import HEARTBEAT_SECONDS, Writing

T = TypeVar("T")

BLOCKING_SECONDS: Final = 15.0
"""How long recovery and `shim status` wait for the database."""

EXIT_SECONDS: Final = 2.0
"""How long the end of the process waits for the last notes to be written."""


class _Running:
    """What does not survive a fork."""

    def __init__(self, client: TableClient, owner: FleetOwner, heartbeat: float) -> None:
        self.remote = Remote(client, owner)
        self.writing = Writing(self.remote, heartbeat=heartbeat)
        self.thread = LoopThread()
        self.thread.run(self.writing.go_on())

    def stop(self) -> None:
        self.thread.stop(self.remote.close())


_inherited: list[_Running] = []
"""Of the process that this one was forked from. Kept forever: closing a loop here would close that process's."""


class SupabaseJournal:
    """Implements `Journal`.

    A claim holds as long as its lease is renewed; all times are the database's. An upload that the database cannot take
    (it is away, or has no such table) is journaled in `local`: then it is claimed on this machine only.

    Args:
        url: address of the project.
        key: a service-role key or a secret key.
        local: this machine's own journal.
        heartbeat: seconds between two renewals of the leases.
    """

    def __init__(self, *, url: str, key: str, local: SqliteJournal, heartbeat: float = HEARTBEAT_SECONDS) -> None:
        self._new_client = partial(TableClient, url, key)
        self._backend = f"Supabase, {self._new_client().address}"
        self._local = local
        self._heartbeat = heartbeat
        self._locally: set[str] = set()
        self._current: _Running | None = None
        self._starting = new_lock()
        renew_in_child(self)
        _journals.add(self)

    def begin_in_child(self) -> None:
        """Begin with nothing open: claims, thread and connections stay the parent's."""
        if self._current is not None:
            _inherited.append(self._current)
        self._current = None
        self._locally.clear()

    @property
    def owner(self) -> str:
        """See `Journal.owner`."""
        return self._running().remote.owner.name

    def open(self, intent: Intent, *, overlapping: float) -> Future[Opening]:
        """See `Journal.open`."""
        begun = time.monotonic() - overlapping
        try:
            running = self._running()
        except AwayError:  # the system has no thread for it
            return self._open_locally(intent, begun)
        if not running.remote.takes_uploads:
            return self._open_locally(intent, begun)
        future: Future[Opening] = Future()
        running.thread.run(self._open(running.remote, future, intent, begun))
        return future

    def note(self, upload_id: str, state: State, facts: Facts = NOTHING_NEW) -> None:
        """See `Journal.note`."""
        if upload_id in self._locally:
            self._local.note(upload_id, state, facts)
        else:
            try:
                running = self._running()
            except AwayError:
                return  # it was never opened, as the system has no thread for it
            running.thread.call(partial(running.writing.note, upload_id, state, facts, at=time.monotonic()))

    def close(self, upload_id: str, state: State, facts: Facts = NOTHING_NEW) -> None:
        """See `Journal.close`."""
        if upload_id in self._locally:
            self._locally.discard(upload_id)
            self._local.close(upload_id, state, facts)
        else:
            self.note(upload_id, state, facts)

    def count_unjournaled(self) -> None:
        """See `Journal.count_unjournaled`. They are counted on this machine."""
        self._local.count_unjournaled()

    def flush(self, timeout: float) -> bool:
        """See `Journal.flush`."""
        deadline = time.monotonic() + timeout
        flushed = True
        if self._current is not None:
            try:
                flushed = self._answer(self._running().writing.flush(), timeout)
            except JournalError:
                flushed = False
        return self._local.flush(max(0.0, deadline - time.monotonic())) and flushed

    def unfinished(self) -> Sequence[Entry]:
        """See `Journal.unfinished`: what is in the database, of all machines, and what this machine has itself."""
        try:
            shared = self._answer(self._running().remote.unfinished())
        except UnusableError:
            shared = []
        return sorted([*shared, *self._local.unfinished()], key=lambda entry: entry.intent.began_at)

    def namesakes(self, intent: Intent) -> Sequence[Entry]:
        """See `Journal.namesakes`: those of all machines, and those that only this machine knows."""
        try:
            shared = self._answer(self._running().remote.namesakes(intent))
        except UnusableError:
            shared = []
        return [*shared, *self._local.namesakes(intent)]

    def take_over(self, upload_id: str) -> Entry | None:
        """See `Journal.take_over`."""
        taken = self._local.take_over(upload_id)
        if taken is not None:
            self._locally.add(upload_id)
            return taken
        try:
            return self._answer(self._running().remote.take_over(upload_id))
        except UnusableError:
            return None

    def release(self, upload_id: str) -> None:
        """See `Journal.release`."""
        if upload_id in self._locally:
            self._locally.discard(upload_id)
            self._local.release(upload_id)
        else:
            running = self._running()
            running.thread.call(partial(running.writing.release, upload_id))

    def status(self) -> JournalStatus:
        """See `Journal.status`. The figures are those of all machines, if the database tells them."""
        local = self._local.status()
        try:
            in_flight, left, unknown = self._answer(self._running().remote.figures())
        except JournalError as error:
            return replace(local, notice=f"{error}; until it can, SQLite on this machine is the journal")
        return replace(
            local,
            backend=self._backend,
            in_flight=local.in_flight + in_flight,
            left=local.left + left,
            unknown=local.unknown + unknown,
        )

    def stop(self) -> None:
        """End the thread and close the connections; the next use begins again. Blocks."""
        running, self._current = self._current, None
        if running is not None:
            running.stop()
        self._local.stop()

    async def _open(self, remote: Remote, future: Future[Opening], intent: Intent, begun: float) -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(await remote.open(intent, begun=begun))
        except JournalError:
            self._open_locally(intent, begun).add_done_callback(partial(_pass_on, future))
        except BaseException as error:
            future.set_exception(error)
            raise

    def _open_locally(self, intent: Intent, begun: float) -> Future[Opening]:
        self._locally.add(intent.upload_id)
        opening = self._local.open(intent, overlapping=time.monotonic() - begun)
        opening.add_done_callback(partial(self._forget_unless_open, intent.upload_id))
        return opening

    def _forget_unless_open(self, upload_id: str, opening: Future[Opening]) -> None:
        if opening.cancelled() or opening.exception() is not None or not isinstance(opening.result(), Opened):
            self._locally.discard(upload_id)

    def _answer(self, work: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """What a coroutine on the loop comes to, within `BLOCKING_SECONDS` or another time.

        Raises:
            JournalError: as the coroutine, and when it takes too long.
        """
        timeout = BLOCKING_SECONDS if timeout is None else timeout
        future = self._running().thread.run(work)
        try:
            return future.result(timeout)
        except TimeoutError as error:
            future.cancel()
            raise JournalError(self._backend, f"it did not answer within {timeout:g} s") from error

    def _running(self) -> _Running:
        """What works for this process.

        Raises:
            AwayError: the system has no thread for it.
        """
        running = self._current
        if running is not None:
            return running
        with self._starting:
            if self._current is None:
                owner = FleetOwner(self._local.path.with_name(OWNERS))
                self._current = _Running(self._new_client(), owner, self._heartbeat)
            return self._current


def _pass_on(future: Future[Opening], answered: Future[Opening]) -> None:
    error = answered.exception()
    if error is None:
        future.set_result(answered.result())
    else:
        future.set_exception(error)


_journals: weakref.WeakSet[SupabaseJournal] = weakref.WeakSet()


def _finish() -> None:
    for journal in tuple(_journals):
        journal.flush(EXIT_SECONDS)
        journal.stop()


atexit.register(_finish)
