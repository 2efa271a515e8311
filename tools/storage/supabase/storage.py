"""The storage that Supabase is: one rule, carried out by a blocking and by an asynchronous client."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from tools.storage.placement import carry_out, carry_out_async, place
from tools.storage.supabase import blocking, pooled
from tools.storage.supabase import pooled as table
from tools.storage.supabase.terms import (
    FIND_ACTION,
    RECORD_ACTION,
    Target,
    describe,
    find_query,
    found_row,
    row_query,
    translated,
)
from tools.transport.loops import REAL_PACE, Pace

if TYPE_CHECKING:
    from tools.storage.port import ProviderName, UploadRow
    from tools.transport.reading import FileSource


class SupabaseStorage:
    """Keeps copies in a bucket and rows in the monolith's table. Implements `UploadStorage`.

    The blocking side uses the official client, anew for each operation; the asynchronous side uses the running
    loop's connection pool. Both leave the same in Supabase; `pace` is how time passes for the asynchronous one.
    """

    def __init__(self, *, url: str, key: str, bucket: str, pace: Pace = REAL_PACE) -> None:
        self._target = Target(url=url, key=key, bucket=bucket)
        self._pace = pace

    @property
    def target(self) -> Target:
        """Where it stores, and with which right."""
        return self._target

    def moved_to(self, url: str) -> SupabaseStorage:
        """The same storage at another address."""
        return SupabaseStorage(url=url, key=self._target.key, bucket=self._target.bucket, pace=self._pace)

    def upload_file(
        self, file_path: str, file_data: bytes, original_name: str, mime_type: str | None, file_type: str
    ) -> str:
        """See `UploadStorage.upload_file`."""
        digest = hashlib.sha256(file_data).hexdigest()
        description = describe(original_name=original_name, mime_type=mime_type, file_type=file_type, sha256=digest)
        with blocking.objects(self._target, file_data, description) as objects:
            return carry_out(place(file_path, size=len(file_data), sha256=digest), objects.perform)

    async def upload_file_streaming(
        self, file_path: str, source: FileSource, original_name: str, mime_type: str | None, file_type: str
    ) -> str:
        """See `UploadStorage.upload_file_streaming`. Errors of `source` pass through as they are."""
        description = describe(
            original_name=original_name, mime_type=mime_type, file_type=file_type, sha256=source.sha256
        )
        objects = pooled.PooledObjects(self._target, source, description, self._pace)
        return await carry_out_async(place(file_path, size=source.size, sha256=source.sha256), objects.perform)

    def record_upload(self, row: UploadRow) -> None:
        """See `UploadStorage.record_upload`."""
        with translated(RECORD_ACTION, self._target.address), blocking.table_client(self._target) as client:
            row_query(client, row).execute()

    async def record_upload_async(self, row: UploadRow) -> None:
        """See `UploadStorage.record_upload`."""
        with translated(RECORD_ACTION, self._target.address):
            async with table.table_client(self._target) as client:
                await row_query(client, row).execute()

    def find_upload(self, *, sha256: str, provider: ProviderName) -> UploadRow | None:
        """See `UploadStorage.find_upload`."""
        with translated(FIND_ACTION, self._target.address), blocking.table_client(self._target) as client:
            return found_row(find_query(client, sha256=sha256, provider=provider).execute().data)

    async def find_upload_async(self, *, sha256: str, provider: ProviderName) -> UploadRow | None:
        """See `UploadStorage.find_upload`."""
        with translated(FIND_ACTION, self._target.address):
            async with table.table_client(self._target) as client:
                answer = await find_query(client, sha256=sha256, provider=provider).execute()
        return found_row(answer.data)
