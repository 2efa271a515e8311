"""What one process knows of the shared table without asking: what it has claimed itself, and what it saw a moment ago.

Many callers of one process that want the same content cost the database one claim, not a question each.

Everything here happens on one event loop (`LoopThread`), so nothing has to be locked.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from tools.journal import supabase_requests as requests
from tools.journal.port import NOTHING_NEW, Entry, Facts, Finished, Held, Intent, Opening, State
from tools.journal.supabase_client import AwayError, FleetOwner, KeyedLocks, RemoteError, TableClient, UnusableError
from tools.journal.supabase_requests import CLOSED, Claimant, Reply, Request, claim, take_over
from tools.transport.loops import drive_async

V = TypeVar("V")

MAX_REMEMBERED: Final = 10_000
"""Uploads, and contents, that are remembered of each kind; the oldest are forgotten, and asked about again."""

HELD_SECONDS: Final = 0.1
"""For how long a claim that another process holds is taken to be held still."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is to be written of an upload."""

    state: State
    facts: Facts

    def then(self, later: Change) -> Change:
        """Both in one: what the later one does not say stays."""
        return replace(later, facts=joined(self.facts, later.facts))


@dataclass(slots=True, kw_only=True)
class Upload:
    """An upload of this process that is in the table.

    Attributes:
        content: what is claimed by it.
        facts: all that is known of it.
        change: what is still to be written.
        has_ended: its claim is given up, though that may have to be written yet.
        is_being_written: a write of it is in flight.
    """

    content: Hashable
    facts: Facts = NOTHING_NEW
    change: Change | None = None
    has_ended: bool = False
    is_being_written: bool = False

    def take_change(self) -> Change | None:
        """What is to be written; nothing is, from then on."""
        change, self.change = self.change, None
        return change

    def put_back(self, change: Change) -> None:
        """It could not be written: it still is to be, before what has come since."""
        self.change = change if self.change is None else change.then(self.change)

    def put(self, change: Change) -> None:
        """This is to be written, too."""
        self.change = change if self.change is None else self.change.then(change)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ended:
    upload_id: str
    provider_file_id: str | None
    at: float


class Known:
    """The memory of one process.

    Args:
        owner: the name of this process.
        clock: seconds, by a clock that does not jump.
    """

    def __init__(self, owner: str, clock: Callable[[], float]) -> None:
        self.uploads: dict[str, Upload] = {}
        self._owner = owner
        self._clock = clock
        self._claims: dict[Hashable, str] = {}
        self._ended: OrderedDict[str, _Ended] = OrderedDict()
        self._last_ended: OrderedDict[Hashable, _Ended] = OrderedDict()
        self._waited_for: OrderedDict[str, str] = OrderedDict()
        self._held: OrderedDict[Hashable, tuple[Held, float]] = OrderedDict()

    def answer(self, intent: Intent, *, begun: float) -> Held | Finished | None:
        """What opening this intent comes to; None: that has to be asked.

        Args:
            intent: what is about to begin.
            begun: when its call began, by the clock.
        """
        content = intent.content
        ended = self._ended.get(self._waited_for.get(intent.upload_id, ""))
        if ended is None or ended.provider_file_id is None:
            last = self._last_ended.get(content)
            ended = last if last is not None and last.at > begun else None
        if ended is not None and ended.provider_file_id is not None:
            return Finished(upload_id=ended.upload_id, provider_file_id=ended.provider_file_id)
        claimed_by = self._claims.get(content)
        if claimed_by is not None:
            return self._wait_for(intent, Held(upload_id=claimed_by, owner=self._owner))
        held, until = self._held.get(content, (None, 0.0))
        if held is not None and self._clock() < until:
            return self._wait_for(intent, held)
        return None

    def learn(self, intent: Intent, opening: Opening) -> None:
        """Remember what the table answered."""
        content = intent.content
        match opening:
            case Held():
                _remember(self._held, content, (opening, self._clock() + HELD_SECONDS))
                self._wait_for(intent, opening)
            case Finished(upload_id=upload_id, provider_file_id=provider_file_id):
                ended = _Ended(upload_id=upload_id, provider_file_id=provider_file_id, at=0.0)
                _remember(self._ended, upload_id, self._ended.get(upload_id, ended))
                self._waited_for.pop(intent.upload_id, None)
            case _:
                self._waited_for.pop(intent.upload_id, None)
                self.uploads[intent.upload_id] = Upload(content=content)
                self._claims[content] = intent.upload_id

    def taken_over(self, upload_id: str) -> None:
        """This process has become the owner of an upload that another process began."""
        self.uploads[upload_id] = Upload(content=upload_id)

    def note(self, upload_id: str, change: Change, *, at: float) -> Upload | None:
        """Remember what is to be written, and that it was said at this time; None: it is no upload of this process."""
        upload = self.uploads.get(upload_id)
        if upload is None:
            return None
        upload.facts = joined(upload.facts, change.facts)
        upload.put(change)
        if change.state in CLOSED and not upload.has_ended:
            upload.has_ended = True
            self._forget_claim(upload_id, upload)
            file_id = upload.facts.provider_file_id if change.state in {State.DONE, State.UNKNOWN} else None
            ended = _Ended(upload_id=upload_id, provider_file_id=file_id, at=at)
            _remember(self._ended, upload_id, ended)
            _remember(self._last_ended, upload.content, ended)
        return upload

    def drop(self, upload_id: str) -> Upload | None:
        """Nothing is left to be written of an upload, or it is this process's no longer."""
        upload = self.uploads.pop(upload_id, None)
        if upload is not None:
            self._forget_claim(upload_id, upload)
        return upload

    def waited_for(self, intent: Intent) -> str | None:
        """The upload of another process that this call found to hold the claim."""
        return self._waited_for.get(intent.upload_id)

    def ended_before(self, upload_id: str, moment: float) -> bool:
        """Whether an upload of this process ended before a moment of its clock."""
        ended = self._ended.get(upload_id)
        return ended is not None and 0.0 < ended.at < moment

    def _wait_for(self, intent: Intent, held: Held) -> Held:
        _remember(self._waited_for, intent.upload_id, held.upload_id)
        return held

    def _forget_claim(self, upload_id: str, upload: Upload) -> None:
        if self._claims.get(upload.content) == upload_id:
            del self._claims[upload.content]


def joined(earlier: Facts, later: Facts) -> Facts:
    """The facts of both; the later ones count."""
    names = Facts.__dataclass_fields__
    both = {
        name: getattr(later, name) if getattr(later, name) is not None else getattr(earlier, name) for name in names
    }
    return Facts(**both)


def _remember(memory: OrderedDict[Hashable, V] | OrderedDict[str, V], key: Hashable, value: V) -> None:
    memory[key] = value  # type: ignore[index]  # a text can be hashed
    memory.move_to_end(key)  # type: ignore[arg-type]  # likewise
    if len(memory) > MAX_REMEMBERED:
        memory.popitem(last=False)


# The journal's table in Supabase, as one process uses it.

T = TypeVar("T")
_logger = logging.getLogger(__name__)

OPEN_SECONDS: Final = 4.0
"""How long claiming a content may take in all; then SQLite's journal has it. An upload waits longer than that."""

AWAY_SECONDS: Final = 10.0
"""For how long a database that failed is left alone, so that few uploads have to wait for one that hangs."""

UNUSABLE_SECONDS: Final = 60.0
"""For how long a database without the table is left alone; after the table is made nothing needs a restart."""

MAX_OPEN: Final = 10_000
"""Uploads of one process in the table that are in flight or have to be written yet; further ones are SQLite's."""

MAX_DOUBTFUL: Final = 10_000
"""Claims that may be in the table though SQLite has their uploads; further ones are left to their leases' end."""


class Remote:
    """One process and the table.

    Attributes:
        trouble: why the database is left alone; None: it works.
        known: what need not be asked.
        locks: one for each content that is claimed or written.

    Args:
        client: sends requests to the database.
        owner: who this process is.
    """

    def __init__(self, client: TableClient, owner: FleetOwner) -> None:
        self.owner = owner
        self.trouble: RemoteError | None = None
        self.known = Known(owner.name, time.monotonic)
        self.locks = KeyedLocks()
        self._client = client
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
            JournalError: the database cannot tell. If the claim is there, it is withdrawn as soon as that works.
        """
        async with self.locks.holding(intent.content):
            known = self.known.answer(intent, begun=begun)
            if known is not None:
                return known
            try:
                async with asyncio.timeout(OPEN_SECONDS):
                    policy = claim(intent, self._claimant(begun), waited_for=self.known.waited_for(intent))
                    opening = await drive_async(policy, self.ask)
            except TimeoutError as error:
                self._doubt(intent.upload_id)
                raise self._failed(AwayError(self._client.address, "it took too long to claim a content")) from error
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
        taken = await drive_async(take_over(upload_id, self._claimant(time.monotonic())), self.ask)
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
        """How many uploads are in flight, left by the dead, and of unknown outcome.

        Raises:
            JournalError: the database cannot tell.
        """
        in_flight, left, unknown = await asyncio.gather(
            *map(self.ask, (requests.count_in_flight(), requests.count_left(), requests.count_unknown()))
        )
        return in_flight.total, left.total, unknown.total

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
            reply = await self._client.ask(requests.TABLE, request)
        except RemoteError as error:
            raise self._failed(error) from error.__cause__
        if self.trouble is not None:
            _logger.warning("the journal of uploads is in Supabase's Postgres (%s) again", self._client.address)
            self.trouble = None
        return reply

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    def _claimant(self, begun: float) -> Claimant:
        return Claimant(
            owner=self.owner.name,
            is_dead=self.owner.is_dead,
            call_seconds=lambda: time.monotonic() - begun,
            ended_before=lambda upload_id: self.known.ended_before(upload_id, begun),
        )

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
