"""This project's own paths: the engine, legacy, and both with the copy and the tracking row."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from bench.clients.uploads import PURPOSE, AsyncUploads, Uploads
from bench.harness import Job
from tools.async_file_upload_refactored import (
    cleanup_http_session,
    upload_file_streaming_async,
    upload_via_supabase_gateway_kimi_async,
)
from tools.storage.local import LocalStorage


@asynccontextmanager
async def engine(job: Job) -> AsyncIterator[AsyncUploads]:
    """The engine's transport alone."""

    async def send(path: Path) -> None:
        await upload_file_streaming_async(path, job.sink.files_url, purpose=PURPOSE)

    try:
        yield AsyncUploads(job, send)
    finally:
        await cleanup_http_session()


@asynccontextmanager
async def engine_gateway(job: Job) -> AsyncIterator[AsyncUploads]:
    """The whole asynchronous path: hash, copy, upload, row."""
    storage = LocalStorage(job.folder / "storage")

    async def send(path: Path) -> None:
        await upload_via_supabase_gateway_kimi_async(path, storage, PURPOSE)

    try:
        yield AsyncUploads(job, send)
    finally:
        await cleanup_http_session()


@contextmanager
def legacy(job: Job) -> Iterator[Uploads]:
    """What legacy sends with: the vendor's SDK, a client for each call."""
    from tools.providers.kimi.kimi_client import send_file  # noqa: PLC0415  # its SDK is not for the engine's memory

    yield Uploads(job, lambda path: send_file(path, PURPOSE))


@contextmanager
def legacy_gateway(job: Job) -> Iterator[Uploads]:
    """The whole legacy path: copy, upload, row."""
    from tools.providers.kimi.kimi_files import (  # noqa: PLC0415  # as above
        upload_via_supabase_gateway_kimi,
    )

    storage = LocalStorage(job.folder / "storage")
    yield Uploads(job, lambda path: upload_via_supabase_gateway_kimi(path, storage, PURPOSE))
