"""Writes to the shared table without a wait: how far uploads are, and that their claims still hold."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from typing import Any, Final

from tools.journal import supabase_requests as requests
from tools.journal.port import Facts, State
from tools.journal.supabase_client import AwayError, RemoteError, UnusableError
from tools.journal.supabase_remote import Change, Remote, Upload

_logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS: Final = 15.0
"""Between two renewals of the leases: three of them may fail before a lease runs out."""

RENEWED_AT_ONCE: Final = 100
"""Leases that one request renews: their names have to fit an address."""

FORGET_SECONDS: Final = 3600.0
"""Between two removals of what ended long ago."""

TICK_SECONDS: Final = 1.0
"""Between two looks at what is to be done."""


class Writing:
    """What one process writes. On the loop of its `Remote`.

    Args:
        remote: the table.
        heartbeat: seconds between two renewals of the leases.
    """

    def __init__(self, remote: Remote, *, heartbeat: float = HEARTBEAT_SECONDS) -> None:
        self._remote = remote
        self._known = remote.known
        self._heartbeat = heartbeat
        self._tasks: set[asyncio.Task[None]] = set()
        self._renewed_at = self._forgot_at = time.monotonic()

    def note(self, upload_id: str, state: State, facts: Facts, *, at: float) -> None:
        """Write down how far an upload was at this time, as soon as that works; what comes meanwhile goes along."""
        upload = self._known.note(upload_id, Change(state=state, facts=facts), at=at)
        if upload is not None and not self._remote.is_resting:
            self._begin(upload_id, upload)

    def release(self, upload_id: str) -> None:
        """Work on an upload no more, behind all that is to be written of it."""
        upload = self._known.uploads.get(upload_id)
        if upload is not None:
            self._spawn(self._release(upload_id, upload))

    async def flush(self) -> bool:
        """Write what waits, even to a database that is left alone; was all of it written?"""
        for upload_id, upload in tuple(self._known.uploads.items()):
            self._begin(upload_id, upload)
        while self._tasks:
            await asyncio.wait(self._tasks)
        return all(upload.change is None for upload in self._known.uploads.values())

    async def go_on(self) -> None:
        """Renew leases, write what could not be written before, and tidy up; until cancelled."""
        while True:
            await asyncio.sleep(min(TICK_SECONDS, self._heartbeat))
            if not self._remote.is_resting:
                try:
                    await self._tick()
                except RemoteError as error:
                    _logger.debug("%s", error)  # the remote has said it, and it is tried again after a rest

    async def _tick(self) -> None:
        await self._remote.withdraw_doubtful()
        for upload_id, upload in tuple(self._known.uploads.items()):
            self._begin(upload_id, upload)
        now = time.monotonic()
        if now - self._renewed_at >= self._heartbeat:
            self._renewed_at = now
            await self._renew()
        if now - self._forgot_at >= FORGET_SECONDS:
            self._forgot_at = now
            await self._remote.ask(requests.forget())

    async def _renew(self) -> None:
        names = [upload_id for upload_id, upload in self._known.uploads.items() if not upload.has_ended]
        for start in range(0, len(names), RENEWED_AT_ONCE):
            await self._remote.ask(requests.renew(names[start : start + RENEWED_AT_ONCE], self._remote.owner.name))

    def _begin(self, upload_id: str, upload: Upload) -> None:
        if upload.change is not None and not upload.is_being_written:
            upload.is_being_written = True
            self._spawn(self._write(upload_id, upload))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _write(self, upload_id: str, upload: Upload) -> None:
        async with self._remote.locks.holding(upload.content):
            while (change := upload.take_change()) is not None:
                try:
                    is_ours = await self._write_change(upload_id, change)
                except (AwayError, UnusableError):
                    upload.put_back(change)
                    break
                if not is_ours or change.state in requests.CLOSED:
                    self._known.drop(upload_id)
            upload.is_being_written = False

    async def _write_change(self, upload_id: str, change: Change) -> bool:
        """Whether the upload was still this process's.

        Raises:
            AwayError, UnusableError: it has to be tried again.
        """
        try:
            reply = await self._remote.ask(
                requests.change(upload_id, self._remote.owner.name, change.state, change.facts)
            )
            if not reply.rows and change.state in requests.CLOSED:
                reply = await self._remote.ask(requests.settle(upload_id, change.state, change.facts))
        except (AwayError, UnusableError):
            raise
        except RemoteError as error:
            _logger.warning("a note cannot be written to the journal of uploads: %s", error)
            return True
        if not reply.rows:
            _logger.warning("the upload %s has lost its claim, because its lease ran out", upload_id)
        return bool(reply.rows)

    async def _release(self, upload_id: str, upload: Upload) -> None:
        async with self._remote.locks.holding(upload.content):
            self._known.drop(upload_id)
            try:
                await self._remote.ask(requests.release(upload_id, self._remote.owner.name))
            except RemoteError as error:
                _logger.debug("%s", error)  # its lease runs out, which comes to the same
