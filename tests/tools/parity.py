"""The providers' upload functions in both implementations, and what is needed to hold them side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import tools.async_file_upload_refactored as new
from migration import Migration, Runtime, install, uninstall
from migration.testing import FixedRouter, RecordingObserver
from tools.migrations import MIGRATIONS
from tools.providers.glm import glm_files
from tools.providers.kimi import kimi_files
from tools.storage.port import UploadStorage

Upload = Callable[..., dict[str, Any]]
NewUpload = Callable[..., Awaitable[dict[str, Any]]]


@dataclass(frozen=True, kw_only=True)
class Provider:
    name: str
    legacy: Upload
    new: NewUpload
    module: Any
    function: str
    purpose: str

    @property
    def target(self) -> str:
        return f"{self.module.__name__}:{self.function}"


PROVIDERS = (
    Provider(
        name="kimi",
        legacy=kimi_files.upload_via_supabase_gateway_kimi,
        new=new.upload_via_supabase_gateway_kimi_async,
        module=kimi_files,
        function="upload_via_supabase_gateway_kimi",
        purpose="file-extract",
    ),
    Provider(
        name="glm",
        legacy=glm_files.upload_via_supabase_gateway_glm,
        new=new.upload_via_supabase_gateway_glm_async,
        module=glm_files,
        function="upload_via_supabase_gateway_glm",
        purpose="agent",
    ),
)


def content(size: int) -> bytes:
    return (b"0123456789abcde\n" * (size // 16 + 1))[:size]


@dataclass
class Shimmed:
    """The provider's function behind a shim, and what was seen of it."""

    router: FixedRouter
    observer: RecordingObserver


@contextmanager
def shimmed(provider: Provider) -> Iterator[Shimmed]:
    seen = Shimmed(FixedRouter(), RecordingObserver())
    runtime = Runtime(router=seen.router, observers=[seen.observer])
    migration: Migration = MIGRATIONS[provider.target]
    install(provider.target, migration, runtime=runtime)
    runtime.loop.on_close(new.cleanup_http_session)
    try:
        yield seen
    finally:
        runtime.close()
        uninstall(provider.target)


def outcome_of(call: Callable[[], Any]) -> Any:
    """A result without the provider's id, or the exception's exact type and text."""
    try:
        result = call()
    except Exception as error:  # noqa: BLE001  # whatever it raises is what is compared
        return type(error), str(error)
    return {key: value for key, value in result.items() if not key.startswith(("kimi", "glm"))}


def run_new(provider: Provider, *args: Any, **kwargs: Any) -> Any:
    async def main() -> Any:
        try:
            return await provider.new(*args, **kwargs)
        finally:
            await new.cleanup_http_session()

    return asyncio.run(main())


class Meddling:
    """A storage that does something to the file just after it has taken its copy."""

    def __init__(self, storage: UploadStorage, meddle: Callable[[], None]) -> None:
        self._storage = storage
        self._meddle = meddle

    def upload_file(self, *args: Any, **kwargs: Any) -> str:
        stored = self._storage.upload_file(*args, **kwargs)
        self._meddle()
        return stored

    async def upload_file_streaming(self, *args: Any, **kwargs: Any) -> str:
        stored = await self._storage.upload_file_streaming(*args, **kwargs)
        self._meddle()
        return stored

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)
