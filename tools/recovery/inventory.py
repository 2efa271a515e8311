"""One inventory of what is at the services: files at the providers, objects and rows in the storage.

Reconciliation, orphans, audit, the read-back of live shadows and their clean-up all look through it.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from typing import Any

from tools.errors import MissingKeyError
from tools.journal import get_journal
from tools.journal.port import Journal
from tools.providers.spec import PROVIDERS
from tools.recovery.provider_files import Listing, ProviderFiles
from tools.recovery.service_client import NoListingError, ServiceClient, ServiceFailedError
from tools.recovery.stored import StorageContents, contents_of
from tools.settings import Settings, use_settings
from tools.storage import UploadStorage, get_storage
from tools.storage.port import ProviderName, UploadRow
from tools.transport.rest import Sleep

SHADOW_PREFIX = "shadow-"
"""What every name that a live shadow makes begins with."""

_MARKED = re.compile(rf"{SHADOW_PREFIX}[0-9a-f]{{32}}-")
_CALL_ID = re.compile(r"[A-Za-z0-9]{1,64}")
_COLUMNS = frozenset(field.name for field in fields(UploadRow))


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """What can be looked at.

    Attributes:
        settings: where everything is.
        storage: where copies and rows are kept, as an upload uses it.
        stored: the same, as it is looked at.
        accounts: the files at each provider for which a key is configured.
    """

    settings: Settings
    storage: UploadStorage
    stored: StorageContents
    accounts: Mapping[ProviderName, ProviderFiles]

    @property
    def journal(self) -> Journal:
        """The journal of uploads."""
        return get_journal(self.settings)


@asynccontextmanager
async def open_inventory(
    settings: Settings, *, storage: UploadStorage | None = None, sleep: Sleep = asyncio.sleep
) -> AsyncIterator[Inventory]:
    """The services that are configured, for as long as this is open; `storage`: another one than the configured.

    Raises:
        ConfigurationError: a variable is missing.
        ServiceFailedError: the storage cannot be looked at.
    """
    with use_settings(settings):
        chosen = await asyncio.to_thread(get_storage) if storage is None else storage
        async with ServiceClient(sleep) as client:
            accounts: dict[ProviderName, ProviderFiles] = {}
            for name in PROVIDERS:
                try:
                    accounts[name] = ProviderFiles(name, settings, client)
                except MissingKeyError:
                    continue  # what needs this account says so
            yield Inventory(settings=settings, storage=chosen, stored=contents_of(chosen, client), accounts=accounts)


async def listing_of(account: ProviderFiles) -> Listing | str:
    """All files of an account, or why they are not known."""
    try:
        listing = await account.listed()
    except (NoListingError, ServiceFailedError) as error:
        return str(error)
    return listing if listing.is_readable else f"{account.label} lists its files in an unknown form"


def row_of(described: Mapping[str, Any], **changes: Any) -> UploadRow:
    """A row as the storage takes it, of a row as it shows it; columns that are unknown here are left out."""
    return UploadRow(**{name: value for name, value in described.items() if name in _COLUMNS} | changes)


def mark_of(call_id: str) -> str:
    """What the names of everything begin with that the live shadow of a call makes: `shadow-CALL-`."""
    if not _CALL_ID.fullmatch(call_id):
        call_id = hashlib.sha256(call_id.encode(errors="surrogatepass")).hexdigest()[:32]
    return f"{SHADOW_PREFIX}{call_id}-"


def is_marked(filename: str) -> bool:
    """Whether a name proves that a live shadow has made the file."""
    return _MARKED.match(filename) is not None
