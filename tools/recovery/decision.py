"""What is decided about an unfinished upload: what is seen of it, and what follows from that.

The order of looking makes it safe. First the providers list their files; then the journal says what is unfinished;
then, for each upload, the table says which files have a row. So a listed file of another upload is always known to be
that: either that upload is still in flight when the journal is asked, or it has written its row by then.
"""

from __future__ import annotations

import asyncio
import hashlib
import stat
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from tools.journal.port import Entry, Intent, State, UploadSide
from tools.providers.answers import listed_name
from tools.recovery.inventory import Inventory, listing_of
from tools.recovery.provider_files import Described, Listing
from tools.storage.port import ProviderName

SLACK_SECONDS = 5.0
"""Listings show whole seconds, and a provider's machines need not agree to the second."""

LATE_SECONDS = 3600.0
"""For how long after the last word of an upload a file of its may appear: the SDKs send again for half an hour at most,
and a request may outlive its sender."""

REPEATED_SECONDS = 86_400.0
"""For how long after its beginning an upload is repeated; by then its caller has given up on it."""

MOST_ATTEMPTS = 4
"""How often the vendors' SDKs send one file at most."""


class Step(StrEnum):
    """What is done about an unfinished upload."""

    ADOPT = "adopt"  # its file is at the provider: copy and row are made good
    REPEAT = "repeat"  # it is not, and the file to be uploaded is as it was: it is uploaded by the same implementation
    CLEAN_UP = "clean up"  # what is left of it is removed: no caller was told of it, and it cannot be completed
    WAIT = "wait"  # another upload of the same is in flight; it is looked at again later
    UNKNOWN = "unknown"  # its outcome cannot be known: nothing is sent and nothing is removed


SETTLED = frozenset({Step.ADOPT, Step.REPEAT, Step.CLEAN_UP})
"""Steps after which the journal has nothing more to remember."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryDecision:
    """What is to be done about an unfinished upload.

    Attributes:
        step: what.
        reason: why, in words.
        keep: the provider's id of the file that is the upload's, if one is.
        remove: the provider's ids of files that are too many.
        nothing_found: whether it rests on nothing having been found; a listing may lag, so it is looked again.
    """

    step: Step
    reason: str
    keep: str | None = None
    remove: tuple[str, ...] = ()
    nothing_found: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """An unfinished upload, and what became of it.

    Attributes:
        upload_id: as in the journal.
        provider: to whom it went.
        side: which implementation carried it out.
        filename: name of the file.
        began_at: when it began, seconds since the epoch.
        state: how far it had come.
        step: what was done, or would be.
        reason: why, in words.
        done: whether it was done.
        file_id: the provider's id of the file that it ended with.
        removed: the provider's ids of the files that were too many.
        trouble: why it could not be done.
    """

    upload_id: str
    provider: ProviderName
    side: UploadSide
    filename: str
    began_at: float
    state: State
    step: Step
    reason: str
    done: bool = False
    file_id: str | None = None
    removed: tuple[str, ...] = ()
    trouble: str | None = None


def resolution_of(entry: Entry, decision: RecoveryDecision) -> Resolution:
    """What became of an upload about which nothing has been done."""
    intent = entry.intent
    return Resolution(
        upload_id=intent.upload_id,
        provider=intent.provider,
        side=intent.side,
        filename=intent.filename,
        began_at=intent.began_at,
        state=entry.state,
        step=decision.step,
        reason=decision.reason,
        file_id=decision.keep,
        removed=decision.remove,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is there of an upload.

    Attributes:
        files: ids of the files at the provider that may be its, oldest first; None: the provider does not list them.
        answered_there: whether the file is there that the upload was answered with, if it was.
        told: whether a caller has been given that file.
        tracked: the file of the same content that another upload made, and the provider has.
        source: whether the file to be uploaded is where it was, with the same content.
        rivals: whether an upload that looks the same is in flight.
        mixed: whether an unfinished upload of another content looks the same, so that `files` may be either's.
        may_have_made: how many of `files` the unfinished uploads that look the same can have made at most.
    """

    files: tuple[str, ...] | None
    answered_there: bool = False
    told: bool = False
    tracked: str | None = None
    source: bool = False
    rivals: bool = False
    mixed: bool = False
    may_have_made: int = 1


def decide(entry: Entry, seen: Seen, *, age: float) -> RecoveryDecision:
    """What is to be done about an upload that began `age` seconds ago."""
    if seen.files is None:
        return _without_listing(entry)
    if seen.rivals:
        return RecoveryDecision(step=Step.WAIT, reason="an upload that looks the same is in flight")
    answered = entry.facts.provider_file_id if seen.answered_there else None
    others = tuple(file_id for file_id in seen.files if file_id != answered)
    if len(others) + (answered is not None) > seen.may_have_made:
        return _too_many_to_be_its(answered, len(others))
    if answered is not None and (seen.told or seen.tracked in {None, answered}):
        return _adopted("the provider has its file", answered, () if seen.mixed else others)
    return _not_told(seen, others if answered is None else (answered, *others), age=age)


def _not_told(seen: Seen, own: tuple[str, ...], *, age: float) -> RecoveryDecision:
    """No caller was told of one of these files, so each may be the one that stays."""
    if seen.tracked is not None:
        reason = _with_surplus("another upload has brought the same content there", own)
        return RecoveryDecision(step=Step.CLEAN_UP, reason=reason, remove=own)
    if own and not seen.mixed:
        return _adopted("a file is there that it has made", own[0], own[1:])
    return _to_be_made(seen, remove=own, age=age)


def _without_listing(entry: Entry) -> RecoveryDecision:
    """Where nothing can be looked up, only an answer tells."""
    facts = entry.facts
    if facts.provider_file_id is not None and facts.attempts == 1:
        return _adopted("it was answered, after one attempt", facts.provider_file_id, ())
    return RecoveryDecision(step=Step.UNKNOWN, reason="the provider does not list its files")


def _too_many_to_be_its(answered: str | None, others: int) -> RecoveryDecision:
    """Some are of other uploads, and it is not known which."""
    reason = f"{others} files look like it, more than it can have made; they are left alone"
    if answered is None:
        return RecoveryDecision(step=Step.UNKNOWN, reason=reason)
    return _adopted(f"the provider has its file; {reason}", answered, ())


def _adopted(reason: str, keep: str, surplus: tuple[str, ...]) -> RecoveryDecision:
    return RecoveryDecision(step=Step.ADOPT, reason=_with_surplus(reason, surplus), keep=keep, remove=surplus)


def _to_be_made(seen: Seen, *, remove: tuple[str, ...], age: float) -> RecoveryDecision:
    """The provider has no file that could be used."""
    lacking = "its file cannot be told from another upload's" if remove else "the provider does not have it"
    if seen.source and age <= REPEATED_SECONDS:
        reason = f"{lacking}, and the file to be uploaded is as it was"
        return RecoveryDecision(step=Step.REPEAT, reason=reason, remove=remove, nothing_found=not remove)
    why = "it began too long ago" if seen.source else "the file to be uploaded is gone or has changed"
    return RecoveryDecision(step=Step.CLEAN_UP, reason=f"{lacking}, and {why}", remove=remove, nothing_found=not remove)


def _with_surplus(reason: str, surplus: Collection[str]) -> str:
    return f"{reason} ({len(surplus)} too many)" if surplus else reason


def look_the_same(one: Intent, other: Intent) -> bool:
    """Whether a provider's listing cannot tell what two uploads have made."""
    return _likeness(one) == _likeness(other)


def may_have_made(entries: Sequence[Entry]) -> int:
    """How many files these unfinished uploads can have made together."""
    return sum(map(_attempts, entries))


def candidates(entry: Entry, listing: Listing, *, now: float) -> tuple[str, ...]:
    """Ids of the listed files that an upload may have made, by name, size, purpose and time; oldest first."""
    lag = listing.taken_at - now  # of our clock behind the provider's
    since = entry.intent.began_at + lag - SLACK_SECONDS
    until = (entry.finished_at or entry.updated_at) + lag + LATE_SECONDS
    alike = [file for file in listing.files if _shown(file) == _likeness(entry.intent)[2:]]
    return tuple(
        str(file["id"])
        for file in sorted(alike, key=lambda file: float(file["created_at"]))
        if since <= float(file["created_at"]) <= until
    )


def _attempts(entry: Entry) -> int:
    """How often it sent the file; an upload that was cut off while it did so has not written that down."""
    if entry.facts.attempts is None:
        return 1 if entry.state in {State.INTENDED, State.STORED} else MOST_ATTEMPTS
    return max(1, entry.facts.attempts)


def _likeness(intent: Intent) -> tuple[object, ...]:
    return intent.provider, intent.account, intent.purpose, intent.size, listed_name(intent.filename)


def _shown(file: Described) -> tuple[object, ...]:
    """As the last three of `_likeness`."""
    return file["purpose"], file["bytes"], listed_name(str(file["filename"]))


class Snapshot:
    """What there was at one moment. `gone` takes the files that have been removed since."""

    def __init__(
        self,
        inventory: Inventory,
        taken: Sequence[Entry],
        unfinished: Sequence[Entry],
        listings: Mapping[ProviderName, Listing | str],
        now: float,
    ) -> None:
        self.gone: set[str] = set()
        self._inventory = inventory
        self._taken = taken
        self._unfinished = unfinished
        self._listings = listings
        self._now = now

    @classmethod
    async def at(cls, inventory: Inventory, taken: Sequence[Entry]) -> Snapshot:
        """Look, for these uploads, which were taken over.

        Raises:
            JournalError: the journal cannot be read.
        """
        now = time.time()
        names = {entry.intent.provider for entry in taken} & inventory.accounts.keys()
        listings = {name: await listing_of(inventory.accounts[name]) for name in names}
        unfinished = await asyncio.to_thread(inventory.journal.unfinished)
        return cls(inventory, taken, unfinished, listings, now)

    async def decision(self, entry: Entry) -> RecoveryDecision:
        """What is to be done about an upload.

        Raises:
            ServiceFailedError, NoListingError, StorageError: a service does not say.
        """
        intent = entry.intent
        account = self._inventory.accounts.get(intent.provider)
        if account is None or account.address != intent.account:
            return RecoveryDecision(
                step=Step.UNKNOWN, reason=f"it went to {intent.account}, which is not configured here"
            )
        listing = self._listings[intent.provider]
        age = self._now - intent.began_at
        if isinstance(listing, str):
            decision = decide(entry, Seen(files=None), age=age)
            return replace(decision, reason=listing) if decision.step is Step.UNKNOWN else decision
        return decide(entry, await self._seen(entry, listing), age=age)

    async def _seen(self, entry: Entry, listing: Listing) -> Seen:
        answered = entry.facts.provider_file_id
        listed = {str(file["id"]) for file in listing.files} - self.gone
        possible = [file_id for file_id in candidates(entry, listing, now=self._now) if file_id in listed]
        with_row = await self._with_row(entry.intent.provider, {*possible, *([answered] if answered else [])})
        others = [other for other in self._unfinished if other.intent.upload_id != entry.intent.upload_id]
        alike = [other for other in others if look_the_same(other.intent, entry.intent)]
        own = {each.intent.upload_id for each in self._taken}
        answers_of_others = {other.facts.provider_file_id for other in others}
        unclaimed = [file_id for file_id in possible if file_id not in with_row | answers_of_others]
        mine = [other for other in alike if other.intent.upload_id in own]
        return Seen(
            files=tuple(unclaimed),
            answered_there=await self._is_there(entry.intent.provider, answered, listed),
            told=answered is not None and (answered in with_row or entry.state is State.UNKNOWN),
            tracked=await self._tracked(entry.intent, listed),
            source=await asyncio.to_thread(is_as_it_was, entry.intent),
            rivals=len(mine) < len(alike),
            mixed=any(other.intent.sha256 != entry.intent.sha256 for other in mine),
            may_have_made=may_have_made([entry, *mine])
            - sum(other.facts.provider_file_id in possible for other in mine),
        )

    async def _with_row(self, provider: ProviderName, ids: Collection[str]) -> set[str]:
        return {str(row["provider_file_id"]) for row in await self._inventory.stored.rows(provider, ids=ids)}

    async def _tracked(self, intent: Intent, listed: Collection[str]) -> str | None:
        found = await self._inventory.storage.find_upload_async(sha256=intent.sha256, provider=intent.provider)
        file_id = None if found is None else found.provider_file_id
        return file_id if await self._is_there(intent.provider, file_id, listed) else None

    async def _is_there(self, provider: ProviderName, file_id: str | None, listed: Collection[str]) -> bool:
        """Whether the provider has a file; one that is not listed may have been made since, so it is asked for."""
        if file_id is None or file_id in self.gone:
            return False
        return file_id in listed or bool(await self._inventory.accounts[provider].look([file_id]))


def is_as_it_was(intent: Intent) -> bool:
    """Whether the file to be uploaded is where it was, with the same name and content. Blocks."""
    path = Path(intent.path)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size != intent.size or path.name != intent.filename:
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == intent.sha256
    except (OSError, ValueError):
        return False
