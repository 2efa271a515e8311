"""The monolith's own uploads, compared while a test runs."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from migration import Migration, Side
from migration.model import Verdict
from migration.testing import ComparedCalls, MismatchError, comparing
from shim.http.httpx_tap import install_httpx_tap, remove_httpx_tap
from tools.async_file_upload_refactored import cleanup_http_session, upload_via_supabase_gateway_kimi_async
from tools.migrations import MIGRATIONS
from tools.providers.kimi import kimi_files
from tools.sandbox import FaultKind, RunningSandbox
from tools.shadowing.replay import StrPath
from tools.storage import get_storage
from tools.storage.port import UploadStorage

TARGET = "tools.providers.kimi.kimi_files:upload_via_supabase_gateway_kimi"


@pytest.fixture(autouse=True)
def _tapped() -> Iterator[None]:
    install_httpx_tap()
    yield
    remove_httpx_tap()


@pytest.fixture
def document(monolith: RunningSandbox, tmp_path: Path) -> Path:
    del monolith  # configured
    path = tmp_path / "document.txt"
    path.write_text("some text\n" * 1000)
    return path


def upload(compared: ComparedCalls, path: Path) -> None:
    for loop in (compared.runtime.loop, compared.runtime.shadows.loop):
        loop.on_close(cleanup_http_session)
    kimi_files.upload_via_supabase_gateway_kimi(path, get_storage())


@pytest.mark.parametrize("serve", Side)
def test_an_upload_is_compared_before_it_returns(serve: Side, document: Path, monolith: RunningSandbox) -> None:
    """The file may be gone the moment after; it is at the provider once."""
    with comparing(MIGRATIONS, serve=serve, strict=True) as compared:
        upload(compared, document)
        document.unlink()
    assert [found.verdict for found in compared.comparisons] == [Verdict.IDENTICAL]
    assert len(monolith.state()["kimi"]["files"]) == 1


async def _wrong_purpose(file_path: Any, storage: Any, purpose: str = "file-extract") -> dict[str, Any]:
    return await upload_via_supabase_gateway_kimi_async(file_path, storage, f"{purpose}s")


def test_a_defect_fails_with_the_field(document: Path) -> None:
    """Where it was called, and what either side sent."""
    defective: Mapping[str, Migration] = {TARGET: dataclasses.replace(MIGRATIONS[TARGET], candidate=_wrong_purpose)}
    with pytest.raises(MismatchError) as failed, comparing(defective) as compared:
        upload(compared, document)
    message = str(failed.value)
    assert f"{TARGET} is different" in message
    assert "legacy:    'file-extract'\n    candidate: 'file-extracts'" in message
    assert __file__ in message


def test_a_failure_is_compared_too(document: Path, monolith: RunningSandbox) -> None:
    """Refused by the provider, both sides fail in the same way."""
    monolith.inject(FaultKind.QUOTA_EXCEEDED, "kimi", "files.create", times=None)
    with comparing(MIGRATIONS, strict=True) as compared, pytest.raises(RuntimeError):
        upload(compared, document)
    assert [found.verdict for found in compared.comparisons] == [Verdict.SAME_ERROR]


async def upload_that_blocks(
    file_path: StrPath, storage: UploadStorage, purpose: str = "file-extract"
) -> Mapping[str, Any]:
    """Legacy as some code bases have it: a coroutine function that blocks its loop."""
    return kimi_files.upload_via_supabase_gateway_kimi(file_path, storage, purpose)


@pytest.mark.parametrize("serve", Side)
def test_a_legacy_that_is_asynchronous_by_name_is_compared(
    serve: Side, document: Path, monolith: RunningSandbox
) -> None:
    """Its callers await it as they did; both sides send the same, and the file is at the provider once."""
    target = f"{__name__}:upload_that_blocks"
    migration = dataclasses.replace(MIGRATIONS[TARGET], protect=lambda legacy: legacy)
    with comparing({target: migration}, serve=serve, strict=True) as compared:
        compared.runtime.loop.on_close(cleanup_http_session)
        asyncio.run(upload_that_blocks(document, get_storage()))
    assert [found.verdict for found in compared.comparisons] == [Verdict.IDENTICAL]
    assert len(monolith.state()["kimi"]["files"]) == 1
