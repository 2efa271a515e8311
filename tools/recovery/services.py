"""What reconciliation works with: the journal, the storage, and the providers' listings of files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tools.errors import MissingKeyError
from tools.journal import get_journal
from tools.journal.port import Journal
from tools.providers.gateway import GLM, KIMI, Gateway
from tools.recovery.asking import asker
from tools.recovery.places import Place, can_be_read_back, place_of
from tools.recovery.provider_files import Listing, ProviderFiles, provider_files
from tools.recovery.verdict import can_be_read
from tools.settings import Settings, use_settings
from tools.shadowing.trial_errors import NoListingError, ServiceFailedError
from tools.storage import UploadStorage, get_storage
from tools.storage.port import ProviderName

GATEWAYS: dict[ProviderName, Gateway] = {"kimi": KIMI, "glm": GLM}

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
            for name in GATEWAYS:
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
