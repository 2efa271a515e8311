"""Uploads through the gateways of both sides, with the journal in Supabase's tables."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path

import pytest

from tests.tools.journal.conftest import upload_on_a_loop
from tests.tools.protected import upload_to_kimi
from tools.async_file_upload_refactored import cleanup_http_session, upload_via_supabase_gateway_kimi_async
from tools.journal import get_journal, supabase_remote
from tools.journal import upload as uploads
from tools.journal.supabase import SupabaseJournal
from tools.sandbox import RunningSandbox
from tools.settings import Settings, use_settings
from tools.storage import get_storage

CONTENT = b"the same on both sides"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "report.txt"
    file.write_bytes(CONTENT)
    return file


@pytest.fixture
def journal(sandbox: RunningSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SupabaseJournal]:
    """The journal that the configuration asks for."""
    monkeypatch.setattr(uploads, "OPEN_SECONDS", 60.0)
    monkeypatch.setattr(supabase_remote, "OPEN_SECONDS", 60.0)
    settings = Settings(
        kimi_api_key=sandbox.key,
        kimi_api_url=sandbox.urls["kimi"],
        supabase_url=sandbox.supabase_url,
        supabase_service_role_key=sandbox.key,
        shim_home=tmp_path / "home",
    )
    with use_settings(settings):
        journal = get_journal()
        assert isinstance(journal, SupabaseJournal)
        yield journal
        journal.stop()


def test_both_sides_write_their_uploads_down(sandbox: RunningSandbox, journal: SupabaseJournal, file: Path) -> None:
    """One after the other, each side makes a file of its own, and its intent ends with the file's id."""
    storage = get_storage()
    ids = [
        upload_to_kimi(str(file), storage, "file-extract")["kimi_file_id"],
        upload_on_a_loop(str(file), storage, "file-extract")["kimi_file_id"],
    ]
    assert journal.flush(20)
    rows = sandbox.state()["supabase"]["upload_intents"]
    told = [(row["side"], row["state"], row["provider_file_id"], row["attempts"]) for row in rows]
    assert told == [("legacy", "done", ids[0], 1), ("async", "done", ids[1], 1)]
    assert all(row["owner"] is None and row["supabase_file_id"] for row in rows)


def test_uploads_of_one_content_at_once_make_one_file(
    sandbox: RunningSandbox, journal: SupabaseJournal, file: Path
) -> None:
    """Twenty callers on both sides at once send the file once, and each is answered with its id."""
    storage = get_storage()

    def legacy() -> str:
        return str(upload_to_kimi(str(file), storage, "file-extract")["kimi_file_id"])

    async def both() -> list[str]:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(10) as threads:
            blocking = [loop.run_in_executor(threads, copy_context().run, legacy) for _ in range(10)]
            awaited = [upload_via_supabase_gateway_kimi_async(str(file), storage, "file-extract") for _ in range(10)]
            results = await asyncio.gather(*awaited)
            ids = [*(await asyncio.gather(*blocking)), *(str(result["kimi_file_id"]) for result in results)]
        await cleanup_http_session()
        return ids

    ids = asyncio.run(both())
    made = [one["id"] for one in sandbox.state()["kimi"]["files"]]
    assert journal.flush(20)
    assert (len(made), set(ids)) == (1, set(made))
    assert len(sandbox.state()["supabase"]["provider_file_uploads"]) == 1
