"""The upload through the storage gateway: copy in the storage, upload to the provider, row in the tracking table.

A cancelled upload is looked after in the background: a file that the provider has made gets its row. A provider does
not notice that its answer is not waited for any more. Until it is known whether there is a file, the
upload keeps its claim in the journal, so that the same content is not sent meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from shim.http.recording import noting
from tools.engine.delivery import deliver, likeness_of
from tools.engine.listing import find_upload
from tools.engine.throttle import upload_place
from tools.errors import ToolsError
from tools.files import validate_upload
from tools.journal.port import ClaimTimeoutError, Finished, UploadSide
from tools.journal.upload import JournaledUpload, claimed_async, journaled_upload
from tools.providers.spec import FILE_TYPE, Provider, guessed_mime_type, storage_failure
from tools.settings import get_settings
from tools.storage.port import StorageUnreachableError
from tools.transport.errors import (
    AmbiguousListingError,
    ConnectionLostError,
    ConnectionNotMadeError,
    FileChangedError,
    ListingUnavailableError,
)
from tools.transport.loops import SYSTEM_CLOCK, Clock, PerLoop, run_in_thread
from tools.transport.reading import FileSource, measure
from tools.transport.writing import loop_throttle

logger = logging.getLogger(__name__)


# Finds out in the background what came of a cancelled upload: a file that the provider has made gets its row.

MAX_RECOVERIES = 64
"""Cancelled uploads of one event loop that are settled at once; further ones are left to recovery."""

RECOVERY_SECONDS = 30.0
"""How long that may take; then it is left to recovery."""

_LOOKS_AFTER_SECONDS = (0.0, 1.0, 3.0)
"""The provider may still be making the file, and its listing may lag behind."""

_recoveries: PerLoop[set[asyncio.Task[None]]] = PerLoop()


async def settled() -> None:
    """Wait until every cancelled upload of this loop is settled."""
    while tasks := _recoveries.get():
        await asyncio.wait(tasks)


class BlockingStorage(Protocol):
    """What legacy asks of a storage, and all that a foreign one may offer."""

    def upload_file(
        self, file_path: str, file_data: bytes, original_name: str, mime_type: str | None, file_type: str
    ) -> str:
        """Keep `file_data` and return an id."""
        ...


@runtime_checkable
class StreamingStorage(Protocol):
    """A storage that takes files piece by piece, without blocking the event loop."""

    async def upload_file_streaming(
        self, file_path: str, source: FileSource, original_name: str, mime_type: str | None, file_type: str
    ) -> str:
        """Keep what `source` reads and return an id."""
        ...


async def upload_through_gateway(
    provider: Provider,
    file_path: str | os.PathLike[str],
    storage: BlockingStorage | StreamingStorage,
    purpose: str,
    *,
    clock: Clock = SYSTEM_CLOCK,
) -> dict[str, Any]:
    """Upload one file; as many at once as the configuration allows.

    Raises:
        ValueError: the file is missing, no regular file, or over the limit; nothing was sent.
        OSError: the file cannot be read; nothing was sent.
        RuntimeError: the storage or the provider failed; the text says which. Its cause is a `ConnectionNotMadeError`
            only if it is certain that nothing was sent anywhere.
    """
    began = time.monotonic()
    async with upload_place(provider, _size_at(file_path)):
        await loop_throttle().take()  # all that may begin at once would wait for the interpreter's lock in one turn
        source, journaled = await run_in_thread(_prepared, provider, file_path, purpose, began)
        try:
            opening = None if journaled is None else await claimed_async(journaled)
        except ClaimTimeoutError as error:
            raise provider.failure(error) from error
        upload = GatewayUpload(
            provider=provider,
            source=source,
            storage=storage,
            purpose=purpose,
            clock=clock,
            journaled=None if opening is None else journaled,
        )
        if isinstance(opening, Finished):
            copy, sent = await upload.store(), opening.provider_file_id
        else:
            copy, sent = await upload.run()
    return provider.result(source, provider_file_id=sent, supabase_file_id=copy)


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayUpload:
    """One upload that sends its file itself."""

    provider: Provider
    source: FileSource
    storage: BlockingStorage | StreamingStorage
    purpose: str
    clock: Clock
    journaled: JournaledUpload | None

    async def run(self) -> tuple[str, str]:
        """Copy, provider, row: the storage's id and the provider's. The intent is closed in whatever way this ends."""
        journaled = self.journaled
        try:
            copy, sent, recorded = await self._steps()
        except BaseException as error:
            if journaled is not None and not self._recovers_later(error, journaled):
                journaled.failed(error)
            raise
        if journaled is not None:
            journaled.done(recorded=recorded)
        return copy, sent

    async def _steps(self) -> tuple[str, str, bool]:
        copy = await self.store()
        if self.journaled is not None:
            self.journaled.stored(copy)
        sent = await self.send()
        if self.journaled is not None:
            self.journaled.delivered(sent)
        recorded = await self.record(copy, sent)
        return copy, sent, recorded

    async def store(self) -> str:
        """Keep a copy; its id."""
        storage, source = self.storage, self.source
        path, mime_type = self.provider.storage_path(source), guessed_mime_type(source.name)
        try:
            if isinstance(storage, StreamingStorage):
                return await storage.upload_file_streaming(
                    file_path=path, source=source, original_name=source.name, mime_type=mime_type, file_type=FILE_TYPE
                )
            return await run_in_thread(
                storage.upload_file,
                file_path=path,
                file_data=await source.whole(),
                original_name=source.name,
                mime_type=mime_type,
                file_type=FILE_TYPE,
            )
        except StorageUnreachableError as error:
            proof = ConnectionNotMadeError("the storage")
            proof.__cause__ = error
            raise storage_failure(error) from proof
        except Exception as error:
            raise storage_failure(error) from error

    async def send(self) -> str:
        """Bring the file to the provider; its id there."""
        provider = self.provider
        try:
            await self.source.still_there()  # the SDKs open the file again, so callers know a failure where it vanished
            return await deliver(
                provider, self.source, purpose=self.purpose, clock=self.clock, journaled=self.journaled
            )
        except ConnectionNotMadeError as error:
            # the storage has its copy by now, so this must be no proof that nothing was sent
            symptom = provider.sdk.error_message(error)
            cause = ConnectionLostError("no connection to the provider, after the copy was stored")
            cause.__cause__ = error.__cause__
        except Exception as error:
            raise provider.failure(provider.sdk.error_message(error)) from error
        raise provider.failure(symptom) from cause

    async def record(self, copy: str, sent: str) -> bool:
        """Write the row; whether it is written. The upload is complete even if it is not."""
        storage: Any = self.storage
        row = self.provider.row(self.source, provider_file_id=sent, supabase_file_id=copy, sha256=self.source.sha256)
        try:
            if hasattr(storage, "record_upload_async"):
                await storage.record_upload_async(row)
            else:
                await run_in_thread(storage.record_upload, row)
        except Exception:
            logger.exception(self.provider.unrecorded(sent))
            return False
        return True

    def _recovers_later(self, error: BaseException, journaled: JournaledUpload) -> bool:
        """Settle a cancelled upload in a task of its own; False if that is not done, and its intent is to be closed."""
        tasks = _recoveries.get()
        if tasks is None:
            tasks = _recoveries.set(set())
        copy = journaled.supabase_file_id
        if not isinstance(error, asyncio.CancelledError) or not journaled.is_in_doubt or copy is None:
            return False
        if len(tasks) >= MAX_RECOVERIES:
            return False
        task = asyncio.get_running_loop().create_task(self._settled(journaled, copy))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return True

    async def _settled(self, journaled: JournaledUpload, copy: str) -> None:
        """Close the intent of a cancelled upload, in whatever way this ends."""
        file_id: str | None = None
        recorded = False
        try:
            with noting(None):  # the call whose exchanges were noted is over
                async with asyncio.timeout(RECOVERY_SECONDS):
                    found = journaled.provider_file_id or await self._found(journaled)
                    if found is not None:
                        file_id = found
                        recorded = await self.record(copy, found)
        except (TimeoutError, ToolsError):
            pass  # it is recovery's now
        finally:
            journaled.settled(file_id, recorded=recorded)

    async def _found(self, journaled: JournaledUpload) -> str | None:
        """The file that the upload has made, if it is to be found; it is claimed."""
        likeness = likeness_of(self.provider, self.source, self.purpose)
        for pause in _LOOKS_AFTER_SECONDS:
            await self.clock.sleep(pause)
            try:
                found = await find_upload(self.provider, likeness, seconds_ago=journaled.seconds, journaled=journaled)
            except AmbiguousListingError:
                continue  # the other upload may be over in a moment
            except ListingUnavailableError:
                return None
            if found is not None:
                return found
        return None


def _prepared(
    provider: Provider, file_path: str | os.PathLike[str], purpose: str, began: float
) -> tuple[FileSource, JournaledUpload | None]:
    """The file, and what the journal is to know of its upload. Blocks; raises as `checked_source`."""
    source = checked_source(file_path, limit=provider.limit(get_settings()))
    return source, journaled_upload(provider.name, source, purpose=purpose, side=UploadSide.ASYNC, began=began)


def _size_at(file_path: str | os.PathLike[str]) -> int:
    """Bytes of a file for its turn; 0 for what cannot be looked at, and is refused when its turn has come."""
    try:
        return Path(file_path).stat().st_size
    except (OSError, ValueError, TypeError):
        return 0


def checked_source(file_path: str | os.PathLike[str], *, limit: int) -> FileSource:
    """Open a file if it can be uploaded. Blocks.

    Raises:
        ValueError: it is missing, no regular file, or over the limit.
        OSError: it cannot be read.
        RuntimeError: it changes all the time.
    """
    try:
        return measure(validate_upload(file_path, limit=limit).path, limit=limit)
    except FileChangedError as error:
        raise storage_failure(error) from error
