"""Where copies and rows are kept, as far as it can be looked at and tidied up."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from tools.recovery.asking import Asker, Digest
from tools.recovery.local_place import LocalPlace
from tools.recovery.supabase_place import SupabasePlace
from tools.settings import Settings
from tools.storage.local import LocalStorage
from tools.storage.port import ProviderName, UploadStorage

Described = Mapping[str, Any]


class Place(Protocol):
    """A storage, as whoever reads back and cleans up needs it.

    Every method raises `ServiceFailedError` when the storage does not say or do it.

    Attributes:
        address: how it is written down.
    """

    address: str

    async def look(self, path: str) -> Described | None:
        """What is known of the object `path`, its `id` and `sha256` among it; None if there is none."""
        ...

    async def digest_of(self, path: str) -> Digest | None:
        """What the object really holds."""
        ...

    def compared(self, described: Described) -> dict[str, object]:
        """What of the description has to be the same for the same file."""
        ...

    async def marked(self, folder: str, mark: str) -> list[str]:
        """The paths of the objects in a folder whose names begin with the mark."""
        ...

    async def remove(self, paths: Sequence[str]) -> None:
        """Remove objects; those that are not there are as good."""
        ...

    async def rows(self, provider: ProviderName, ids: Collection[str]) -> list[Described]:
        """The rows of these files."""
        ...

    async def marked_rows(self, provider: ProviderName, mark: str) -> list[str]:
        """The provider's file ids in the rows whose file names begin with the mark."""
        ...

    async def remove_rows(self, provider: ProviderName, ids: Collection[str]) -> None:
        """Remove the rows of these files; those that are not there are as good."""
        ...

    async def rows_about(self, object_id: str) -> list[Described]:
        """The rows that name this object as their copy."""
        ...

    async def all_rows(self) -> list[Described]:
        """All rows."""
        ...

    async def objects(self, folder: str) -> list[Described]:
        """All objects in a folder: `path`, and `created_at` in seconds since the epoch."""
        ...


def can_be_read_back(storage: UploadStorage) -> bool:
    """Whether it is known how to read this storage back."""
    return isinstance(storage, LocalStorage) or _supabase_target(storage) is not None


def place_of(storage: UploadStorage, asker: Asker) -> Place:
    """How to read back and clean up a storage that can be read back."""
    if isinstance(storage, LocalStorage):
        return LocalPlace(storage.folder.root)
    target = _supabase_target(storage)
    assert target is not None  # noqa: S101  # what `can_be_read_back` is for
    return SupabasePlace(url=target.url, key=target.key, bucket=target.bucket, asker=asker)


def place_at(address: str, settings: Settings, asker: Asker) -> Place | None:
    """The place that was written down under this address; None if the configuration does not lead there."""
    if (root := LocalPlace.root_of(address)) is not None:
        return LocalPlace(root)
    bucket = SupabasePlace.bucket_at(address, settings.supabase_url or "")
    if bucket is None or settings.supabase_url is None or settings.supabase_service_role_key is None:
        return None
    key = settings.supabase_service_role_key.get_secret_value()
    return SupabasePlace(url=settings.supabase_url, key=key, bucket=bucket, asker=asker)


def _supabase_target(storage: UploadStorage) -> Any:
    """Where a Supabase storage stores, without importing its client for those who do not use it."""
    is_supabase = type(storage).__module__.startswith("tools.storage.supabase")
    return getattr(storage, "target", None) if is_supabase else None
