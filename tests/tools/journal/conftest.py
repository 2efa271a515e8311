"""Uploads to the sandbox, from both sides, with a journal that a test can look into."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from shim.http.httpx_tap import remove_httpx_tap
from tests.tools.protected import upload_to_kimi
from tools.async_file_upload_refactored import cleanup_http_session, upload_via_supabase_gateway_kimi_async
from tools.engine.gateway import settled
from tools.journal import get_journal
from tools.journal.port import Entry
from tools.sandbox import RunningSandbox
from tools.settings import Settings, use_settings
from tools.storage.local import LocalStorage

Upload = Callable[..., dict[str, Any]]


async def upload_async(*args: Any, **kwargs: Any) -> dict[str, Any]:
    """One upload by the new implementation, and whatever it leaves running."""
    try:
        return await upload_via_supabase_gateway_kimi_async(*args, **kwargs)
    finally:
        await settled()
        await cleanup_http_session()


def upload_on_a_loop(*args: Any, **kwargs: Any) -> dict[str, Any]:
    """The same, on an event loop of its own."""
    return asyncio.run(upload_async(*args, **kwargs))


@dataclass(frozen=True, kw_only=True)
class World:
    """The sandbox, the storage, and the journal."""

    sandbox: RunningSandbox
    settings: Settings
    folder: Path
    storage: LocalStorage
    journal: Any = field(repr=False)

    def file(self, content: bytes = b"content", name: str = "report.txt") -> Path:
        path = self.folder / name
        path.write_bytes(content)
        return path

    @property
    def held(self) -> list[dict[str, Any]]:
        """The files that Kimi has."""
        return list(self.sandbox.state()["kimi"]["files"])

    @property
    def unfinished(self) -> list[Entry]:
        assert self.journal.flush(5)
        return list(self.journal.unfinished())


@pytest.fixture
def world(sandbox: RunningSandbox, tmp_path: Path) -> Iterator[World]:
    settings = Settings(
        kimi_api_key="kimi-key",
        kimi_api_url=sandbox.urls["kimi"],
        glm_api_key="glm-key",
        glm_api_url=sandbox.urls["glm"],
        shim_home=tmp_path / "home",
        upload_timeout=20,
    )
    (tmp_path / "files").mkdir()
    with use_settings(settings):
        yield World(
            sandbox=sandbox,
            settings=settings,
            folder=tmp_path / "files",
            storage=LocalStorage(tmp_path / "storage"),
            journal=get_journal(),
        )
        get_journal().flush(5)
    remove_httpx_tap()


@pytest.fixture(params=["legacy", "async"])
def upload(request: pytest.FixtureRequest) -> Upload:
    """The public function of one side."""
    return upload_to_kimi if request.param == "legacy" else upload_on_a_loop
