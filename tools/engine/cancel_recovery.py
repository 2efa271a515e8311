"""Finds out in the background what came of a cancelled upload: a file that the provider has made gets its row.

A provider does not notice that its answer is not waited for any more. Until it is known whether there is a file, the
upload keeps its claim in the journal, so that the same content is not sent meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

from shim.http.recording import noting
from tools.engine.delivery import likeness_of
from tools.engine.listing import find_upload
from tools.errors import ToolsError
from tools.journal.upload import JournaledUpload
from tools.providers.spec import Provider
from tools.transport.errors import AmbiguousListingError, ListingUnavailableError
from tools.transport.loops import SYSTEM_CLOCK, Clock, PerLoop, run_in_thread
from tools.transport.reading import FileSource

logger = logging.getLogger(__name__)


async def record(
    storage: Any, provider: Provider, source: FileSource, *, supabase_file_id: str, provider_file_id: str
) -> bool:
    """Write the row; whether it is written. The upload stands even if it is not."""
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
