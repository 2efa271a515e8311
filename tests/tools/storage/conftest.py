"""Both storages, each through both of its sides."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from uuid import uuid4

import pytest

from tools.sandbox import RunningSandbox
from tools.storage import UploadStorage
from tools.storage.local import LocalStorage
from tools.storage.supabase import SupabaseStorage
from tools.transport.connections import cleanup_http_session
from tools.transport.loops import Clock
from tools.transport.reading import open_source

Store = Callable[..., Awaitable[str]]


@pytest.fixture(autouse=True)
async def pool() -> AsyncIterator[None]:
    """The connection pool is closed after each test."""
    yield
    await cleanup_http_session()


@pytest.fixture
def waits() -> list[float]:
    """The pauses that the asynchronous side made, in seconds; none of them takes any time."""
    return []


@pytest.fixture
def quick(waits: list[float]) -> Clock:
    async def wait(seconds: float) -> None:
        waits.append(seconds)

    return Clock(sleep=wait, jitter=lambda: 0.0)


@pytest.fixture
def supabase(sandbox: RunningSandbox, quick: Clock) -> SupabaseStorage:
    return SupabaseStorage(url=sandbox.supabase_url, key=sandbox.key, bucket="user-files", clock=quick)


@pytest.fixture
def local(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "storage")


@pytest.fixture(params=["local", "supabase"])
def storage(request: pytest.FixtureRequest) -> UploadStorage:
    found: UploadStorage = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=["blocking", "streaming"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Stores data at a path of a storage, through the one side or the other."""

    async def blocking(storage: UploadStorage, path: str, data: bytes, mime_type: str | None = "text/plain") -> str:
        return storage.upload_file(path, data, path.rpartition("/")[2], mime_type, "user_upload")

    async def streaming(storage: UploadStorage, path: str, data: bytes, mime_type: str | None = "text/plain") -> str:
        file = tmp_path / f"source-{uuid4().hex}"
        file.write_bytes(data)
        source = await open_source(file)
        return await storage.upload_file_streaming(path, source, path.rpartition("/")[2], mime_type, "user_upload")

    return {"blocking": blocking, "streaming": streaming}[request.param]
