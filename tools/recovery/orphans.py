"""Orphans: files at a provider and stored objects without a row, and rows whose file the provider no longer has.

An account may be shared, so a file at a provider is removed only if its name proves that it is ours. In the storage the
folders of the gateways are ours. Whatever is young, or may belong to an upload that is not finished, is left alone.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Any

from shim.primitives import make_private_folder
from tools.errors import ToolsError
from tools.journal.port import Entry, Facts, Intent, State, UploadSide
from tools.providers.spec import PROVIDERS, provider
from tools.recovery.inventory import Inventory, is_marked, listing_of, open_inventory, row_of
from tools.recovery.provider_files import Listing, ProviderFiles
from tools.recovery.reconcile import claimed
from tools.settings import Settings
from tools.storage.port import ProviderName
from tools.transport.rest import Sleep

SAFE_SECONDS = 3600.0
"""What is younger is left alone: it may belong to an upload of which the journal does not know."""

_PRIVATE_FILE = 0o600


class AtWorkError(ToolsError):
    """Another process is removing orphans."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(f"another process is removing orphans (it holds {path}); wait until it has ended")


class OrphanKind(StrEnum):
    """What an orphan is."""

    FILE = "file"  # at a provider, and no row names it
    OBJECT = "object"  # in the storage, and no row names it or its content
    ROW = "row"  # it names a file that the provider no longer has


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphan:
    """Something that belongs to no upload.

    Attributes:
        kind: what it is.
        provider: whose file, copy or row it is.
        name: the provider's id of the file, or the path of the object.
        filename: name of the file.
        created_at: when it was made, seconds since the epoch.
        reason: why it is an orphan, in words.
        kept_because: why it is left alone even if orphans are to be removed; None: it is removed, or its row marked.
        done: whether that was done.
        trouble: why it could not be done.
    """

    kind: OrphanKind
    provider: ProviderName
    name: str
    filename: str
    created_at: float
    reason: str
    kept_because: str | None = None
    done: bool = False
    trouble: str | None = None


async def find_orphans(
    settings: Settings, *, older_than: float = SAFE_SECONDS, sleep: Sleep = asyncio.sleep
) -> tuple[list[Orphan], list[str]]:
    """Look for orphans; changes nothing.

    Args:
        settings: where everything is.
        older_than: what is younger than so many seconds is shown, and kept.
        sleep: waits.

    Returns:
        The orphans, and what could not be looked at.

    Raises:
        ConfigurationError, JournalError, ServiceFailedError: journal or storage cannot be looked at.
    """
    async with open_inventory(settings, sleep=sleep) as at:
        return await _OrphanSearch(at, older_than).everywhere()


async def remove_orphans(
    settings: Settings, *, older_than: float = SAFE_SECONDS, sleep: Sleep = asyncio.sleep
) -> tuple[list[Orphan], list[str]]:
    """As `find_orphans`, and remove them, or mark their rows as deleted; one process of this machine at a time.

    Raises:
        AtWorkError: another process is removing orphans.
        ConfigurationError, JournalError, ServiceFailedError: journal or storage cannot be looked at.
    """
    with _alone(settings):
        async with open_inventory(settings, sleep=sleep) as at:
            found, unknown = await _OrphanSearch(at, older_than).everywhere()
            return [await _removed(at, orphan) for orphan in found], unknown


class _OrphanSearch:
    """A search. The lists come first, then the journal, then the rows: see `tools.recovery.decision`."""

    def __init__(self, at: Inventory, older_than: float) -> None:
        self._at = at
        self._older_than = older_than
        self._unfinished: Sequence[Entry] = ()
        self._rows: list[Mapping[str, Any]] = []
        self._now = time.time()

    async def everywhere(self) -> tuple[list[Orphan], list[str]]:
        listings: dict[ProviderName, Listing | str] = {
            name: await listing_of(account) for name, account in self._at.accounts.items()
        }
        objects: dict[ProviderName, list[Mapping[str, Any]]] = {
            name: await self._at.stored.objects(each.folder) for name, each in PROVIDERS.items()
        }
        self._unfinished = await asyncio.to_thread(self._at.journal.unfinished)
        self._rows = await self._at.stored.rows()
        found: list[Orphan] = []
        for name, listing in listings.items():
            if not isinstance(listing, str):
                found += self._files(name, listing)
                found += await self._stale_rows(name, listing, self._at.accounts[name])
        for name, there in objects.items():
            found += await self._objects(name, there)
        return [self._kept_or_not(orphan) for orphan in found], [
            told for told in listings.values() if isinstance(told, str)
        ]

    def _files(self, provider: ProviderName, listing: Listing) -> list[Orphan]:
        with_row = {str(row["provider_file_id"]) for row in self._rows if row["provider"] == provider}
        lag = listing.taken_at - self._now
        return [
            Orphan(
                kind=OrphanKind.FILE,
                provider=provider,
                name=str(file["id"]),
                filename=str(file["filename"]),
                created_at=float(file["created_at"]) - lag,
                reason="no row names it",
                kept_because=None if is_marked(str(file["filename"])) else "nothing proves that it is ours",
            )
            for file in listing.files
            if file["id"] not in with_row
        ]

    async def _stale_rows(self, provider: ProviderName, listing: Listing, account: ProviderFiles) -> list[Orphan]:
        listed = {str(file["id"]) for file in listing.files}
        gone = [
            row
            for row in self._rows
            if (row["provider"], row["upload_status"]) == (provider, "completed")
            and row["provider_file_id"] not in listed
        ]
        there = await account.look([str(row["provider_file_id"]) for row in gone])  # a listing may lag
        return [
            Orphan(
                kind=OrphanKind.ROW,
                provider=provider,
                name=str(row["provider_file_id"]),
                filename=str(row["filename"]),
                created_at=_moment(row["created_at"], self._now),
                reason=f"{account.label} does not have the file",
            )
            for row in gone
            if row["provider_file_id"] not in there
        ]

    async def _objects(self, provider: ProviderName, there: Sequence[Mapping[str, Any]]) -> list[Orphan]:
        found = []
        for each in there:
            path = str(each["path"])
            if not await self._has_row(provider, path):
                found.append(
                    Orphan(
                        kind=OrphanKind.OBJECT,
                        provider=provider,
                        name=path,
                        filename=PurePosixPath(path).name,
                        created_at=float(each["created_at"]),
                        reason="no row names it or its content",
                    )
                )
        return found

    async def _has_row(self, provider: ProviderName, path: str) -> bool:
        """Whether a row is about this object, or its content: several uploads may share a copy."""
        described = await self._at.stored.look(path)
        return described is None or any(
            row["supabase_file_id"] == described["id"]
            or (row["provider"], row["sha256"]) == (provider, described.get("sha256"))
            for row in self._rows
        )

    def _kept_or_not(self, orphan: Orphan) -> Orphan:
        """The orphan, with the first of the reasons to leave it alone."""
        if self._now - orphan.created_at < self._older_than:
            return replace(orphan, kept_because="it is too young")
        if any(_may_be_of(entry.intent, orphan.provider, orphan.filename) for entry in self._unfinished):
            return replace(orphan, kept_because="an upload of that name is not finished")
        return orphan


async def _removed(at: Inventory, orphan: Orphan) -> Orphan:
    if orphan.kept_because is not None:
        return orphan
    removals = {OrphanKind.FILE: _remove_file, OrphanKind.OBJECT: _remove_object, OrphanKind.ROW: _mark_row}
    try:
        refusal = await removals[orphan.kind](at, orphan)
    except ToolsError as error:
        return replace(orphan, trouble=str(error))
    return replace(orphan, kept_because=refusal) if refusal else replace(orphan, done=True)


async def _remove_file(at: Inventory, orphan: Orphan) -> str | None:
    if await at.stored.rows(orphan.provider, ids=[orphan.name]):
        return "a row names it by now"
    await at.accounts[orphan.provider].remove(orphan.name)
    return None


async def _remove_object(at: Inventory, orphan: Orphan) -> str | None:
    """Remove it while its content is claimed, so that no upload takes it for its copy meanwhile."""
    described = await at.stored.look(orphan.name)
    if described is None:
        return "it is gone by now"
    if described.get("sha256") is None:
        return "it does not say what it holds, as ours do"
    claim = await claimed(at, _intent_about(at, orphan, described))
    if claim is None:
        return "an upload of this content is in flight"
    try:
        if await at.stored.rows(object_id=str(described["id"])):
            return "a row names it by now"
        await at.stored.remove([orphan.name])
    finally:
        at.journal.close(claim, State.FAILED, Facts(error="a claim while an orphan was removed"))
    return None


def _intent_about(at: Inventory, orphan: Orphan, described: Mapping[str, Any]) -> Intent:
    account = at.accounts.get(orphan.provider)
    return Intent(
        upload_id="",  # the claim has its own
        provider=orphan.provider,
        account="" if account is None else account.address,
        purpose=provider(orphan.provider).default_purpose,
        sha256=str(described["sha256"]),
        filename=orphan.filename,
        size=int(described["size"]),
        path="",
        side=UploadSide.LEGACY,
        began_at=time.time(),
    )


async def _mark_row(at: Inventory, orphan: Orphan) -> str | None:
    """Mark the row as deleted, so that the next upload of the content sends it again."""
    for row in await at.stored.rows(orphan.provider, ids=[orphan.name]):
        await at.storage.record_upload_async(row_of(row, upload_status="deleted"))
    return None


def _may_be_of(intent: Intent, provider: ProviderName, filename: str) -> bool:
    """Whether a file or copy of that name may be this upload's; a copy may have a suffix before its extension."""
    stem, suffix = PurePosixPath(intent.filename).stem, PurePosixPath(intent.filename).suffix
    alike = filename == intent.filename or (filename.startswith(f"{stem}-") and filename.endswith(suffix))
    return intent.provider == provider and alike


def _moment(text: object, otherwise: float) -> float:
    """Seconds since the epoch for ISO 8601; what cannot be read is as young as can be."""
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return otherwise


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """Be the only process of this machine that removes orphans."""
    path = settings.shim_home / "reconcile.lock"
    make_private_folder(path.parent)
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE_FILE)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AtWorkError(path) from error
        yield
    finally:
        os.close(lock)


def left(found: Collection[Orphan]) -> list[Orphan]:
    """Those that are to be removed and are not."""
    return [orphan for orphan in found if orphan.kept_because is None and not orphan.done]
