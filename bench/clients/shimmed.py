"""Uploads as a caller of the monolith makes them: through the shim, with the flag at 100 %."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bench.clients.uploads import PURPOSE, AsyncUploads
from bench.harness import Job
from shim.wiring import flag_admin
from tools.application import app
from tools.load import Steering, create_flags
from tools.providers.kimi import kimi_files
from tools.settings import get_settings
from tools.storage.local import LocalStorage

_EVERYTHING = 100


@asynccontextmanager
async def shim(job: Job) -> AsyncIterator[AsyncUploads]:
    """The caller awaits on its own loop; the upload runs on the background loop, with storage, spans and metrics."""
    admin = flag_admin(get_settings())
    create_flags(admin)
    storage = LocalStorage(job.folder / "storage")
    with app.running() as installation:
        Steering(admin, installation.router).serve(_EVERYTHING, compared=0)
        upload = kimi_files.upload_via_supabase_gateway_kimi

        async def send(path: Path) -> None:
            await upload.aio(path, storage, PURPOSE)  # type: ignore[attr-defined]  # the shim stands there by now

        yield AsyncUploads(job, send)
