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


async def record(
    storage: Any, provider: Provider, source: FileSource, *, supabase_file_id: str, provider_file_id: str
) -> bool:
    """Write the row; whether it is written. The upload is complete even if it is not."""
    row = provider.row(
        source, provider_file_id=provider_file_id, supabase_file_id=supabase_file_id, sha256=source.sha256
    )
    try:
        if hasattr(storage, "record_upload_async"):
            await storage.record_upload_async(row)
        else:
            await run_in_thread(storage.record_upload, row)
    except Exception:
        logger.exception(provider.unrecorded(provider_file_id))
        return False
    return True


# Finds out in the background what came of a cancelled upload: a file that the provider has made gets its row.

MAX_RECOVERIES = 64
"""Cancelled uploads of one event loop that are settled at once; further ones are left to recovery."""

RECOVERY_SECONDS = 30.0
"""How long that may take; then it is left to recovery."""

_LOOKS_AFTER_SECONDS = (0.0, 1.0, 3.0)
"""The provider may still be making the file, and its listing may lag behind."""

_recoveries: PerLoop[set[asyncio.Task[None]]] = PerLoop()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Broken:
    """A cancelled upload, of which the storage has a copy."""

    journaled: JournaledUpload
    supabase_file_id: str
    provider: Provider
    source: FileSource
    storage: Any
    clock: Clock


def recover_later(
    error: BaseException,
    journaled: JournaledUpload,
    *,
    provider: Provider,
    source: FileSource,
    storage: Any,
    clock: Clock = SYSTEM_CLOCK,
) -> bool:
    """Settle a cancelled upload in a task of its own; False if that is not done, and its intent is to be closed."""
    tasks = _recoveries.get()
    if tasks is None:
        tasks = _recoveries.set(set())
    copy = journaled.supabase_file_id
    if not isinstance(error, asyncio.CancelledError) or not journaled.is_in_doubt or copy is None:
        return False
    if len(tasks) >= MAX_RECOVERIES:
        return False
    broken = _Broken(
        journaled=journaled, supabase_file_id=copy, provider=provider, source=source, storage=storage, clock=clock
    )
    task = asyncio.get_running_loop().create_task(_settled(broken))
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    return True


async def settled() -> None:
    """Wait until every cancelled upload of this loop is settled."""
    while tasks := _recoveries.get():
        await asyncio.wait(tasks)


async def _settled(broken: _Broken) -> None:
    """Close the intent, in whatever way this ends."""
    file_id: str | None = None
    recorded = False
    try:
        with noting(None):  # the call whose exchanges were noted is over
            async with asyncio.timeout(RECOVERY_SECONDS):
                found = broken.journaled.provider_file_id or await _found(broken)
                if found is not None:
                    file_id = found
                    recorded = await record(
                        broken.storage,
                        broken.provider,
                        broken.source,
                        supabase_file_id=broken.supabase_file_id,
                        provider_file_id=found,
                    )
    except (TimeoutError, ToolsError):
        pass  # it is recovery's now
    finally:
        broken.journaled.settled(file_id, recorded=recorded)


async def _found(broken: _Broken) -> str | None:
    """The file that the upload has made, if it is to be found; it is claimed."""
    likeness = likeness_of(broken.provider, broken.source, broken.journaled.intent.purpose)
    for pause in _LOOKS_AFTER_SECONDS:
        await broken.clock.sleep(pause)
        try:
            found = await find_upload(
                broken.provider, likeness, seconds_ago=broken.journaled.seconds, journaled=broken.journaled
            )
        except AmbiguousListingError:
            continue  # the other upload may be over in a moment
        except ListingUnavailableError:
            return None
        if found is not None:
            return found
    return None


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
        upload = _Upload(
            provider=provider,
            source=source,
            storage=storage,
            purpose=purpose,
            clock=clock,
            journaled=None if opening is None else journaled,
        )
        if isinstance(opening, Finished):
            copy, sent = await _store(storage, provider, source), opening.provider_file_id
        elif upload.journaled is None:
            copy, sent, _ = await upload.run()
        else:
            copy, sent = await upload.run_journaled(upload.journaled)
    return provider.result(source, provider_file_id=sent, supabase_file_id=copy)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Upload:
    """One upload that sends its file itself."""

    provider: Provider
    source: FileSource
    storage: BlockingStorage | StreamingStorage
    purpose: str
    clock: Clock
    journaled: JournaledUpload | None

    async def run(self) -> tuple[str, str, bool]:
        """Copy, provider, row: the storage's id, the provider's id, and whether the row is written."""
        copy = await _store(self.storage, self.provider, self.source)
        if self.journaled is not None:
            self.journaled.stored(copy)
        sent = await _deliver(self.provider, self.source, self.purpose, self.clock, self.journaled)
        if self.journaled is not None:
            self.journaled.delivered(sent)
        row = await record(self.storage, self.provider, self.source, supabase_file_id=copy, provider_file_id=sent)
        return copy, sent, row

    async def run_journaled(self, journaled: JournaledUpload) -> tuple[str, str]:
        """The same; the intent is closed in whatever way it ends, or handed over to who finds out."""
        try:
            copy, sent, recorded = await self.run()
        except BaseException as error:
            if not recover_later(
                error, journaled, provider=self.provider, source=self.source, storage=self.storage, clock=self.clock
            ):
                journaled.failed(error)
            raise
        journaled.done(recorded=recorded)
        return copy, sent


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


async def _store(storage: BlockingStorage | StreamingStorage, provider: Provider, source: FileSource) -> str:
    path = provider.storage_path(source)
    mime_type = guessed_mime_type(source.name)
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


async def _deliver(
    provider: Provider, source: FileSource, purpose: str, clock: Clock, journaled: JournaledUpload | None
) -> str:
    try:
        await source.still_there()  # the SDKs open the file a second time, so callers know a failure where it vanished
        return await deliver(provider, source, purpose=purpose, clock=clock, journaled=journaled)
    except ConnectionNotMadeError as error:
        # the storage has its copy by now, so this must be no proof that nothing was sent
        symptom = provider.sdk.error_message(error)
        cause = ConnectionLostError("no connection to the provider, after the copy was stored")
        cause.__cause__ = error.__cause__
    except Exception as error:
        raise provider.failure(provider.sdk.error_message(error)) from error
    raise provider.failure(symptom) from cause
