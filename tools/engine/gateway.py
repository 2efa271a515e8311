"""The upload through the storage gateway: copy in the storage, upload to the provider, row in the tracking table."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from tools.engine.delivery import deliver
from tools.engine.errors import ConnectionLostError, ConnectionNotMadeError, FileChangedError
from tools.engine.pace import REAL_PACE, Pace
from tools.engine.providers import Provider
from tools.engine.reading import FileSource, measure, read_file
from tools.engine.threads import run_in_thread
from tools.engine.throttle import upload_place
from tools.providers.gateway import FILE_TYPE, guessed_mime_type, storage_failure
from tools.providers.validation import validate_upload
from tools.settings import get_settings
from tools.storage.errors import StorageUnreachableError

logger = logging.getLogger(__name__)


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
    pace: Pace = REAL_PACE,
) -> dict[str, Any]:
    """Upload one file; as many at once as the configuration allows.

    Raises:
        ValueError: the file is missing, no regular file, or over the limit; nothing was sent.
        OSError: the file cannot be read; nothing was sent.
        RuntimeError: the storage or the provider failed; the text says which. Its cause is a `ConnectionNotMadeError`
            only if it is certain that nothing was sent anywhere.
    """
    async with upload_place(provider, _size_at(file_path)):
        source = await run_in_thread(checked_source, file_path, limit=provider.gateway.limit(get_settings()))
        supabase_file_id = await _store(storage, provider, source)
        provider_file_id = await _deliver(provider, source, purpose, pace)
        ids = {"provider_file_id": provider_file_id, "supabase_file_id": supabase_file_id}
        await _record(storage, provider, source, ids)
    return provider.gateway.result(source, **ids)


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
        return measure(validate_upload(file_path, limit=limit).path)
    except FileChangedError as error:
        raise storage_failure(error) from error


async def _store(storage: BlockingStorage | StreamingStorage, provider: Provider, source: FileSource) -> str:
    path = provider.gateway.storage_path(source)
    mime_type = guessed_mime_type(source.name)
    try:
        if isinstance(storage, StreamingStorage):
            return await storage.upload_file_streaming(
                file_path=path, source=source, original_name=source.name, mime_type=mime_type, file_type=FILE_TYPE
            )
        return await run_in_thread(
            storage.upload_file,
            file_path=path,
            file_data=await read_file(source.path) if source.held is None else source.held,
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


async def _deliver(provider: Provider, source: FileSource, purpose: str, pace: Pace) -> str:
    try:
        await source.still_there()  # the SDKs open the file a second time, so callers know a failure where it vanished
        return await deliver(provider, source, purpose=purpose, pace=pace)
    except ConnectionNotMadeError as error:
        # the storage has its copy by now, so this must not stand as a proof that nothing was sent
        symptom = provider.wording(error)
        cause = ConnectionLostError("no connection to the provider, after the copy was stored")
        cause.__cause__ = error.__cause__
    except Exception as error:
        raise provider.gateway.failure(provider.wording(error)) from error
    raise provider.gateway.failure(symptom) from cause


async def _record(storage: Any, provider: Provider, source: FileSource, ids: dict[str, str]) -> None:
    """Write the row. The upload stands even if that fails."""
    row = provider.gateway.row(source, **ids, sha256=source.sha256)
    try:
        if hasattr(storage, "record_upload_async"):
            await storage.record_upload_async(row)
        else:
            await run_in_thread(storage.record_upload, row)
    except Exception:
        logger.exception(provider.gateway.unrecorded(row.provider_file_id))
