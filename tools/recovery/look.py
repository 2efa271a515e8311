"""One look at everything, on which decisions about a number of unfinished uploads rest.

The order is what makes it safe. First the providers list their files; then the journal says what is unfinished; then,
for each upload, the table says which files have a row. So a listed file of another upload is always known to be that:
either the upload is still under way when the journal is asked, or it has written its row by then.
"""

from __future__ import annotations

import asyncio
import hashlib
import stat
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tools.errors import MissingKeyError
from tools.journal import get_journal
from tools.journal.port import Entry, Intent, Journal, State
from tools.providers.spec import PROVIDERS
from tools.recovery.finding import Step, Verdict
from tools.recovery.places import Place, can_be_read_back, place_of
from tools.recovery.provider_files import Listing, ProviderFiles, provider_files
from tools.recovery.rest_client import NoListingError, ServiceFailedError, asker
from tools.recovery.verdict import Seen, can_be_read, candidates, judge, look_the_same, may_have_made
from tools.settings import Settings, use_settings
from tools.storage import UploadStorage, get_storage
from tools.storage.port import ProviderName

Sleep = Callable[[float], Awaitable[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Everything that is asked.

    Attributes:
        journal: of uploads.
        storage: where copies and rows are kept.
        place: the same from its other end.
        accounts: the files at each provider for which a key is configured.
    """

    journal: Journal
    storage: UploadStorage
    place: Place
    accounts: dict[ProviderName, ProviderFiles]


@asynccontextmanager
async def services(settings: Settings, *, sleep: Sleep = asyncio.sleep) -> AsyncIterator[Services]:
    """The services that are configured, for as long as this is open.

    Raises:
        ConfigurationError: a variable is missing.
        ServiceFailedError: the storage cannot be looked at.
    """
    with use_settings(settings):
        storage = await asyncio.to_thread(get_storage)
        if not can_be_read_back(storage):
            raise ServiceFailedError("reconcile", f"a {type(storage).__name__} cannot be read back")
        async with asker(sleep) as asking:
            accounts: dict[ProviderName, ProviderFiles] = {}
            for name in PROVIDERS:
                try:
                    accounts[name] = provider_files(name, settings, asking)
                except MissingKeyError:
                    continue  # whoever needs it is told
            yield Services(
                journal=get_journal(settings), storage=storage, place=place_of(storage, asking), accounts=accounts
            )


async def listing_of(account: ProviderFiles) -> Listing | str:
    """All files of an account, or why they are not known."""
    try:
        listing = await account.listed()
    except (NoListingError, ServiceFailedError) as error:
        return str(error)
    return listing if can_be_read(listing) else f"{account.label} lists its files in an unknown form"


# One look at everything, on which decisions about a number of unfinished uploads rest.


class Look:
    """What there was at one moment. `gone` takes the files that have been removed since."""

    def __init__(
        self,
        services: Services,
        taken: Sequence[Entry],
        unfinished: Sequence[Entry],
        listings: dict[ProviderName, Listing | str],
        now: float,
    ) -> None:
        self.gone: set[str] = set()
        self._services = services
        self._taken = taken
        self._unfinished = unfinished
        self._listings = listings
        self._now = now

    @classmethod
    async def at(cls, services: Services, taken: Sequence[Entry]) -> Look:
        """Look, for these uploads, which were taken over.

        Raises:
            JournalError: the journal cannot be read.
        """
        now = time.time()
        listings: dict[ProviderName, Listing | str] = {}
        names: set[ProviderName] = {entry.intent.provider for entry in taken}
        for name in names:
            account = services.accounts.get(name)
            if account is not None:
                listings[name] = await listing_of(account)
        unfinished = await asyncio.to_thread(services.journal.unfinished)
        return cls(services, taken, unfinished, listings, now)

    async def verdict(self, entry: Entry) -> Verdict:
        """What is to be done about an upload.

        Raises:
            ServiceFailedError, NoListingError, StorageError: a service does not say.
        """
        intent = entry.intent
        account = self._services.accounts.get(intent.provider)
        if account is None or account.address != intent.account:
            return Verdict(step=Step.UNKNOWN, reason=f"it went to {intent.account}, which is not configured here")
        listing = self._listings[intent.provider]
        age = self._now - intent.began_at
        if isinstance(listing, str):
            verdict = judge(entry, Seen(files=None), age=age)
            return verdict if verdict.step is not Step.UNKNOWN else Verdict(step=Step.UNKNOWN, reason=listing)
        return judge(entry, await self._seen(entry, listing), age=age)

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
        return {str(row["provider_file_id"]) for row in await self._services.place.rows(provider, ids)}

    async def _tracked(self, intent: Intent, listed: Collection[str]) -> str | None:
        found = await self._services.storage.find_upload_async(sha256=intent.sha256, provider=intent.provider)
        file_id = None if found is None else found.provider_file_id
        return file_id if await self._is_there(intent.provider, file_id, listed) else None

    async def _is_there(self, provider: ProviderName, file_id: str | None, listed: Collection[str]) -> bool:
        """Whether the provider has a file; one that is not listed may have been made since, so it is asked for."""
        if file_id is None or file_id in self.gone:
            return False
        return file_id in listed or bool(await self._services.accounts[provider].look([file_id]))


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
