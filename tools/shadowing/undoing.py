"""Cleans up after live shadows that could not do it themselves: their process was killed, or a service was away."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field, replace
from enum import StrEnum

from migration.shadow import UndoIntent, UndoJournal, UndoLimits, UndoState
from tools.errors import ToolsError
from tools.recovery.provider_files import ProviderFiles
from tools.recovery.service_client import NoListingError, ServiceClient, ServiceFailedError
from tools.recovery.stored import StorageContents, contents_at
from tools.settings import Settings
from tools.shadowing.marks import remove_copies

ROUNDS = 4
"""How often is looked and removed until nothing is found; what is then still there is left and reported."""

SECOND_LOOK_SECONDS = 1.0
"""A listing may lag behind, and a request may still be in flight whose sender is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Where a shadow makes things, and how they are marked."""

    mark: str
    files: ProviderFiles
    stored: StorageContents


@dataclass(slots=True, kw_only=True)
class Remains:
    """What is there of a shadow.

    Attributes:
        files, objects, rows: ids, paths, and ids of the files that the rows are about.
        listed: whether the provider lists its files: else there may be more than is known.
    """

    files: list[str] = field(default_factory=list)
    objects: list[str] = field(default_factory=list)
    rows: list[str] = field(default_factory=list)
    listed: bool = True

    def __len__(self) -> int:
        return len(self.files) + len(self.objects) + len(self.rows)

    def __str__(self) -> str:
        named = {"files at the provider": self.files, "stored objects": self.objects, "rows": self.rows}
        return ", ".join(f"{len(each)} {name}" for name, each in named.items() if each) or "nothing"


async def find_remains(where: Where, known: Collection[str]) -> Remains:
    """What is there of a shadow: whatever is marked, and the files that it is known to have made.

    Raises:
        ServiceFailedError: a service does not say.
    """
    provider, remains = where.files.name, Remains()
    objects = await where.stored.objects(where.files.folder, where.mark)
    remains.objects = [str(each["path"]) for each in objects]
    marked = await where.stored.rows(provider, beginning=where.mark)
    rows = [*await where.stored.rows(provider, ids=known), *marked]
    remains.rows = sorted({str(row["provider_file_id"]) for row in rows})
    try:
        files = {*await where.files.marked(where.mark), *await where.files.look(known)}
    except NoListingError:
        files, remains.listed = set(known), False
    remains.files = sorted(files)
    return remains


async def undo(
    where: Where,
    known: Collection[str],
    *,
    certain: bool,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> str | None:
    """Remove it all; None when it is known to be gone, else a sentence that says what is left.

    Args:
        where: where it is, and how it is marked.
        known: the ids of the files that it is known to have made.
        certain: whether these are all: every request was answered. If not, nothing found once is not enough.
        sleep: waits.
    """
    looks, remains = 0, Remains()
    try:
        for number in range(ROUNDS):
            if number:
                await sleep(SECOND_LOOK_SECONDS if looks else 0.0)
            remains = await find_remains(where, known)
            if not remains.listed:
                await _remove(where, remains)
                return await _unlisted(where, known, certain=certain)
            looks = 0 if remains else looks + 1
            if looks > (not certain):
                return None
            await _remove(where, remains)
    except ServiceFailedError as error:
        return f"what a live shadow made under the name {where.mark}... could not all be removed: {error}"
    return f"a live shadow left {remains} under the name {where.mark}...: it is there again after it was removed"


async def _unlisted(where: Where, known: Collection[str], *, certain: bool) -> str | None:
    """What can be said where the provider does not list its files: it has confirmed each removal, and that is all."""
    left = await find_remains(where, ())
    if left.objects or left.rows:
        return f"a live shadow left {left} under the name {where.mark}...: it is there again after it was removed"
    if certain:
        return None
    return (
        f"{where.files.label} does not list its files, so it is not known whether a live shadow left one named "
        f"{where.mark}... there beside the {len(known)} that were removed"
    )


async def _remove(where: Where, remains: Remains) -> None:
    """Rows first: none is ever about a file that is gone."""
    await where.stored.remove_rows(where.files.name, remains.rows)
    for file_id in remains.files:
        await where.files.remove(file_id)
    await where.stored.remove(remains.objects)


# Cleans up after live shadows that could not do it themselves: their process was killed, or a service was away.

_logger = logging.getLogger(__name__)


class Fate(StrEnum):
    """What has become of a cleanup."""

    REMOVED = "removed"
    THERE = "there"  # it was only looked at
    UNCERTAIN = "uncertain"  # it could not be removed, or it is not known whether it is there
    FORGOTTEN = "forgotten"  # likewise, and it is not looked for any more


_ENDS = {Fate.REMOVED: UndoState.UNDONE, Fate.FORGOTTEN: UndoState.FORGOTTEN}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleanup:
    """What one live shadow left.

    Attributes:
        mark: what its names begin with.
        begun: when, in seconds since the epoch.
        fate: what has become of it.
        detail: what is there, or why that is not known.
    """

    mark: str
    begun: float
    fate: Fate
    detail: str


def journal_of(settings: Settings) -> UndoJournal:
    """The journal of live shadows that all processes of this machine share."""
    limits = UndoLimits(objects=settings.shadow_live_objects, hourly_bytes=settings.shadow_live_hourly_bytes)
    return UndoJournal(settings.shim_db, limits)


def described(where: Where) -> dict[str, str]:
    """Where a shadow makes things, as it is written down."""
    return {
        "provider": where.files.name,
        "provider_address": where.files.address,
        "storage": where.stored.address,
        "folder": where.files.folder,
    }


async def clean(
    settings: Settings,
    *,
    dry_run: bool = False,
    forget: bool = False,
    most: int | None = None,
    older_than: float = 0.0,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    now: Callable[[], float] = time.time,
) -> list[Cleanup]:
    """Remove what is left of live shadows, and make sure of it.

    Args:
        settings: where the services and the journal are.
        dry_run: look, and change nothing.
        forget: look no more for what cannot be removed, or may not be there.
        most: clean up after so many at most.
        older_than: leave those alone that began less than so many seconds ago.
        sleep: waits.
        now: the clock, in seconds since the epoch.

    Raises:
        StoreError: the journal cannot be used.
    """
    journal = journal_of(settings)
    left = [intent for intent in await asyncio.to_thread(journal.left) if now() - intent.begun >= older_than]
    found = []
    async with ServiceClient(sleep) as client:
        for intent in left[:most]:
            cleanup = await _cleaned(intent, settings, client, dry_run=dry_run)
            if forget and cleanup.fate is Fate.UNCERTAIN:
                cleanup = replace(cleanup, fate=Fate.FORGOTTEN)
            if cleanup.fate in _ENDS:
                await asyncio.to_thread(remove_copies, settings.trials_folder / intent.mark)
                await asyncio.to_thread(journal.end, intent.mark, _ENDS[cleanup.fate])
            found.append(cleanup)
    return found


async def clean_in_background(settings: Settings) -> None:
    """`clean`, with its result in the log: for the start of a process."""
    try:
        for cleanup in await clean(settings):
            if cleanup.fate is not Fate.REMOVED:
                _logger.warning("%s (see `shim shadows clean`)", cleanup.detail)
    except Exception:  # no call waits for it; what is left stays in the journal
        _logger.exception("what live shadows left could not be cleaned up")


async def _cleaned(intent: UndoIntent, settings: Settings, client: ServiceClient, *, dry_run: bool) -> Cleanup:
    def fate(which: Fate, detail: str) -> Cleanup:
        return Cleanup(mark=intent.mark, begun=intent.begun, fate=which, detail=detail)

    try:
        where = _where(intent, settings, client)
        if where is None:
            storage, provider = intent.places["storage"], intent.places["provider_address"]
            return fate(Fate.UNCERTAIN, f"it is at {provider} and {storage}, which are not configured here")
        remains = await find_remains(where, intent.things)
        if dry_run:
            return fate(Fate.THERE, str(remains))
        trouble = await undo(where, intent.things, certain=False, sleep=client.sleep)
    except (ServiceFailedError, ToolsError) as error:
        return fate(Fate.UNCERTAIN, str(error))
    return fate(Fate.REMOVED, str(remains)) if trouble is None else fate(Fate.UNCERTAIN, trouble)


def _where(intent: UndoIntent, settings: Settings, client: ServiceClient) -> Where | None:
    """Where the shadow made things; None if the configuration leads somewhere else."""
    files = ProviderFiles(intent.places["provider"], settings, client)
    stored = contents_at(intent.places["storage"], settings, client)
    if stored is None or files.address != intent.places["provider_address"]:
        return None
    return Where(mark=intent.mark, files=files, stored=stored)
