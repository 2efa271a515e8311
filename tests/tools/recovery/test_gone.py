"""A file that the provider no longer has is noticed, sent again, and its row says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.tools.recovery.bench import Bench
from tests.tools.recovery.conftest import MakeBench
from tools.journal.port import UploadSide
from tools.smart_file_query import SmartFileQueryTool
from tools.storage.port import StorageRefusedError, UploadRow

QUESTION = "What was decided?"


@pytest.fixture
def kimi(make_bench: MakeBench, tmp_path: Path) -> Bench:
    return make_bench("kimi", UploadSide.LEGACY, shim_allowed_roots=(tmp_path,))


def delete(bench: Bench, file_id: str) -> None:
    url = f"{bench.settings.kimi_api_url}/files/{file_id}"
    assert httpx.delete(url, headers={"Authorization": "Bearer planted"}).is_success


async def asked(bench: Bench, path: Path) -> dict[str, Any]:
    answer = await SmartFileQueryTool(bench.storage).execute({"file_path": str(path), "question": QUESTION})
    document = json.loads(answer)
    assert document["status"] == "success", document
    return dict(document["metadata"])


async def test_a_question_notices_it(kimi: Bench) -> None:
    """The caller gets its answer from a new file; the row of the old one is marked, so no later caller meets it."""
    path = kimi.document(b"The harbour opens at six.\n")
    first = (await asked(kimi, path))["file_id"]
    delete(kimi, first)
    second = (await asked(kimi, path))["file_id"]
    assert second != first
    rows = {row["provider_file_id"]: row["upload_status"] for row in kimi.account().rows}
    assert rows == {first: "deleted", second: "completed"}
    asked_before = len(kimi.sandbox.requests("kimi", "files.create"))
    assert (await asked(kimi, path))["file_id"] == second
    assert len(kimi.sandbox.requests("kimi", "files.create")) == asked_before


async def test_a_row_that_cannot_be_marked_fails_nobody(kimi: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer comes all the same."""
    path = kimi.document(b"The harbour opens at six.\n")
    delete(kimi, (await asked(kimi, path))["file_id"])
    storage_class = type(kimi.storage)
    record = storage_class.record_upload

    def refuse(storage: object, row: UploadRow) -> None:
        if row.upload_status == "deleted":
            raise StorageRefusedError(action="record", status=500, code="XX000", message="told to fail")
        record(storage, row)  # type: ignore[arg-type]  # it is one

    monkeypatch.setattr(storage_class, "record_upload", refuse)
    assert (await asked(kimi, path))["deduplicated"] is False
