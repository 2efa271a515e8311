"""Everything in this program that reads an answer from elsewhere, one question each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from flags import UnleashFlagAdmin
from shim.http.httpx_tap import answers_within_bounds, install_httpx_tap, remove_httpx_tap
from shim.prometheus import PrometheusTallies
from tests.tools.protected import protected
from tools.async_file_upload_refactored import (
    cleanup_http_session,
    upload_via_supabase_gateway_glm_async,
    upload_via_supabase_gateway_kimi_async,
)
from tools.providers.glm import glm_client
from tools.providers.kimi import kimi_client
from tools.recovery.service_client import ServiceClient
from tools.settings import MEGABYTE, get_settings
from tools.storage import get_storage
from tools.storage.local import LocalStorage
from tools.storage.port import UploadRow
from tools.transport.upload import get

Ask = Callable[[str, Path], object]
"""Asks the server at an address, about a file; what it raises is its answer to an unusable answer."""

SAMPLE = ("upload to Kimi", "legacy find in Supabase", "question to GLM", "change a flag", "count in Prometheus")
"""One for each library and side; the others are asked in the long proofs."""

ROW = UploadRow(
    provider="kimi",
    provider_file_id="file-1",
    supabase_file_id=None,
    sha256="0" * 64,
    filename="report.txt",
    file_size_bytes=1,
    upload_status="completed",
    upload_method="supabase_gateway",
)


def _here() -> LocalStorage:
    """A storage that asks no server."""
    return LocalStorage(get_settings().shim_home / "here")


def _run(work: Callable[[], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        try:
            return await work()
        finally:
            await cleanup_http_session()

    return asyncio.run(main())


def _bounded(ask: Callable[[], object]) -> object:
    """Ask as a question about a file does, in a process whose HTTP clients are recorded."""
    install_httpx_tap()
    try:
        with answers_within_bounds():
            return ask()
    finally:
        remove_httpx_tap()


async def _live(url: str) -> object:
    async def at_once(_seconds: float) -> None: ...

    async with ServiceClient(at_once) as client:
        answer = await client.ask("look", "GET", f"{url}/files", headers={"Authorization": "Bearer planted-key"})
        return answer.document()["data"]


def _prometheus(url: str, _path: Path) -> object:
    reading = PrometheusTallies(url).read("async-upload-kimi")
    if reading.problem:
        raise RuntimeError(reading.problem)
    return reading


CLIENTS: dict[str, Ask] = {
    "upload to Kimi": lambda _url, path: _run(lambda: upload_via_supabase_gateway_kimi_async(path, _here())),
    "upload to GLM": lambda _url, path: _run(lambda: upload_via_supabase_gateway_glm_async(path, _here())),
    "list files": lambda url, _path: _run(lambda: get(f"{url}/files", query={}, headers={}, limit=4 * MEGABYTE)),
    "store in Supabase": lambda _url, path: _run(lambda: upload_via_supabase_gateway_kimi_async(path, get_storage())),
    "record in Supabase": lambda _url, _path: _run(lambda: get_storage().record_upload_async(ROW)),
    "find in Supabase": lambda _url, _path: _run(lambda: get_storage().find_upload_async(sha256="0", provider="kimi")),
    "legacy upload to Kimi": lambda _url, path: protected("kimi")(path, _here()),
    "legacy upload to GLM": lambda _url, path: protected("glm")(path, _here()),
    "text at Kimi": lambda _url, path: _bounded(lambda: kimi_client.extract_text(path, "file-1", timeout=3)),
    "text at GLM": lambda _url, path: _bounded(lambda: glm_client.extract_text(path, "file-1", timeout=3)),
    "question to Kimi": lambda _url, _path: _bounded(lambda: kimi_client.ask("Why?", "text", model="m", timeout=3)),
    "question to GLM": lambda _url, _path: _bounded(lambda: glm_client.ask("Why?", "text", model="m", timeout=3)),
    "legacy store in Supabase": lambda _url, path: protected("kimi")(path, get_storage()),
    "legacy record in Supabase": lambda _url, _path: get_storage().record_upload(ROW),
    "legacy find in Supabase": lambda _url, _path: get_storage().find_upload(sha256="0", provider="kimi"),
    "read back a live shadow": lambda url, _path: _run(lambda: _live(url)),
    "change a flag": lambda url, _path: UnleashFlagAdmin(url, "planted-key").ensure("async-upload-kimi"),
    "count in Prometheus": _prometheus,
}

EVERY_CLIENT = [name if name in SAMPLE else pytest.param(name, marks=pytest.mark.thorough) for name in CLIENTS]
"""For `parametrize`."""
