"""The journal's table in Supabase, as one process uses it.

Everything here happens on one event loop (`LoopThread`), so nothing has to be locked.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Generator
from typing import Final, TypeVar

from tools.journal import supabase_requests as requests
from tools.journal.intent import Entry, Intent
from tools.journal.port import Opening
from tools.journal.supabase_asking import Asker, AwayError, RemoteError, UnusableError
from tools.journal.supabase_known import Known, content_of
from tools.journal.supabase_owner import FleetOwner
from tools.journal.supabase_plan import Claimant, claim, take_over
from tools.journal.supabase_requests import Reply, Request
from tools.journal.supabase_thread import Turns

T = TypeVar("T")
_logger = logging.getLogger(__name__)

OPEN_SECONDS: Final = 4.0
"""How long claiming a content may take in all; then SQLite's journal has it. An upload waits longer than that."""

AWAY_SECONDS: Final = 10.0
"""For how long a database that failed is left alone, so that few uploads have to wait for one that hangs."""

UNUSABLE_SECONDS: Final = 60.0
"""For how long a database without the table is left alone; whoever makes the table need not restart anything."""

MAX_OPEN: Final = 10_000
"""Uploads of one process in the table that are under way or have to be written yet; further ones are SQLite's."""

MAX_DOUBTFUL: Final = 10_000
"""Claims that may stand in the table though SQLite has their uploads; further ones are left to their leases' end."""


class Remote:
    """One process and the table.

    Attributes:
        trouble: why the database is left alone; None: it works.
        known: what need not be asked.
        turns: who writes of the same content goes one after the other.

    Args:
        asker: asks the database.
        owner: who this process is.
    """

    def __init__(self, asker: Asker, owner: FleetOwner) -> None:
        self.owner = owner
        self.trouble: RemoteError | None = None
        self.known = Known(owner.name, time.monotonic)
        self.turns = Turns()
        self._asker = asker
        self._rest_until = 0.0
        self._doubtful: OrderedDict[str, None] = OrderedDict()

    @property
    def takes_uploads(self) -> bool:
        """Whether the database has not failed a moment ago, and no bound is reached. From any thread."""
        return not self.is_resting and len(self.known.uploads) < MAX_OPEN

    @property
    def is_resting(self) -> bool:
        """Whether the database is left alone, because it failed a moment ago. From any thread."""
        return time.monotonic() < self._rest_until

    async def open(self, intent: Intent, *, begun: float) -> Opening:
        """Claim a content; see `Journal.open`.

        Args:
            intent: what is about to begin.
            begun: when its call began, by `time.monotonic`.

        Raises:
            JournalError: the database cannot tell. If the claim stands there, it is withdrawn as soon as that works.
        """
        async with self.turns.turn(content_of(intent)):
            known = self.known.answer(intent, begun=begun)
            if known is not None:
                return known
            try:
                async with asyncio.timeout(OPEN_SECONDS):
                    plan = claim(intent, self._claimant(begun), waited_for=self.known.waited_for(intent))
                    opening = await self._carry_out(plan)
            except TimeoutError as error:
                self._doubt(intent.upload_id)
                raise self._failed(AwayError(self._asker.address, "it took too long to claim a content")) from error
            except BaseException:
                self._doubt(intent.upload_id)
                raise
            self.known.learn(intent, opening)
            return opening

    async def take_over(self, upload_id: str) -> Entry | None:
        """See `Journal.take_over`.

        Raises:
            JournalError: the database cannot tell.
        """
        taken = await self._carry_out(take_over(upload_id, self._claimant(time.monotonic())))
        if taken is not None:
            self.known.taken_over(upload_id)
        return taken

    async def unfinished(self) -> list[Entry]:
        """See `Journal.unfinished`.

        Raises:
            JournalError: the database cannot tell.
        """
        return [requests.entry(row) for row in (await self.ask(requests.list_unfinished())).rows]

    async def namesakes(self, intent: Intent) -> list[Entry]:
        """See `Journal.namesakes`.

        Raises:
            JournalError: the database cannot tell.
        """
        return [requests.entry(row) for row in (await self.ask(requests.list_namesakes(intent))).rows]

    async def figures(self) -> tuple[int, int, int]:
        """How many uploads are under way, left by the dead, and of unknown outcome.

        Raises:
            JournalError: the database cannot tell.
        """
        under_way, left, unknown = await asyncio.gather(
            *map(self.ask, (requests.count_under_way(), requests.count_left(), requests.count_unknown()))
        )
        return under_way.total, left.total, unknown.total

    async def withdraw_doubtful(self) -> None:
        """Give back what may have been claimed for uploads that SQLite has.

        Raises:
            RemoteError: the database cannot tell.
        """
        for upload_id in tuple(self._doubtful):
            await self.ask(requests.withdraw(upload_id, self.owner.name))
            del self._doubtful[upload_id]

    async def ask(self, request: Request) -> Reply:
        """Ask about the table; how that went decides whether the database is left alone for a while.

        Raises:
            RemoteError: the database cannot tell.
        """
        try:
            reply = await self._asker.ask(requests.TABLE, request)
        except RemoteError as error:
            raise self._failed(error) from error.__cause__
        if self.trouble is not None:
            _logger.warning("the journal of uploads is in Supabase's Postgres (%s) again", self._asker.address)
            self.trouble = None
        return reply

    async def close(self) -> None:
        """Close the connections."""
        await self._asker.close()

    def _claimant(self, begun: float) -> Claimant:
        return Claimant(
            owner=self.owner.name,
            is_dead=self.owner.is_dead,
            call_seconds=lambda: time.monotonic() - begun,
            ended_before=lambda upload_id: self.known.ended_before(upload_id, begun),
        )

    async def _carry_out(self, plan: Generator[Request, Reply, T]) -> T:
        try:
            request = next(plan)
            while True:
                request = plan.send(await self.ask(request))
        except StopIteration as finished:
            result: T = finished.value
            return result

    def _doubt(self, upload_id: str) -> None:
        self._doubtful[upload_id] = None
        if len(self._doubtful) > MAX_DOUBTFUL:
            self._doubtful.popitem(last=False)

    def _failed(self, error: RemoteError) -> RemoteError:
        if isinstance(error, AwayError | UnusableError):
            lasting = isinstance(error, UnusableError)
            self._rest_until = time.monotonic() + (UNUSABLE_SECONDS if lasting else AWAY_SECONDS)
            if self.trouble is None:
                _logger.warning("%s; until it can, SQLite on this machine is the journal", error)
            self.trouble = error
        return error
