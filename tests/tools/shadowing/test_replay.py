"""Shadows of real uploads: both implementations run in full, nothing is created, and a defect shows."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from migration import Side
from migration.model import Verdict
from shim.wiring import open_ledger
from tests.support.traffic import upload_requests
from tests.tools.planted import FlippingWriter
from tests.tools.shadowing.bench import DECLARED, Bench, World, document
from tools.async_file_upload_refactored import upload_via_supabase_gateway_kimi_async
from tools.sandbox import Fault, FaultKind, RunningSandbox
from tools.settings import Settings, get_settings, use_settings
from tools.storage.port import UploadStorage
from tools.transport.upload import FileBody


@pytest.mark.parametrize("serve", Side)
def test_a_shadow_creates_nothing(
    serve: Side, bench: Callable[..., Bench], storage: UploadStorage, tmp_path: Path, sandbox: RunningSandbox
) -> None:
    """After any number of compared uploads the provider, the storage and the table hold the primaries' traces only."""
    alone = bench(dataclasses.replace(DECLARED, replay=None))
    alone.compare(document(tmp_path, b"first"), storage, serve=serve)
    requests = len(upload_requests(sandbox))
    comparison = bench().compare(document(tmp_path, b"other", "other.txt"), storage, serve=serve)
    assert comparison.verdict is Verdict.IDENTICAL
    assert len(upload_requests(sandbox)) == 2 * requests


@pytest.mark.parametrize("serve", Side)
@pytest.mark.parametrize("size", [1, 256 * 1024, 256 * 1024 + 1, 3_000_000])
def test_the_true_implementations_are_identical(
    size: int, serve: Side, bench: Callable[..., Bench], storage: UploadStorage, tmp_path: Path
) -> None:
    """Whatever the size and the serving side, both send the same bytes in the same requests."""
    path = document(tmp_path, bytes(range(256)) * (size // 256) + b"x" * (size % 256), 'Größe "1".txt')
    comparison = bench().compare(path, storage, serve=serve)
    assert comparison.verdict is Verdict.IDENTICAL, comparison.differences


def test_failures_are_compared_as_well(
    bench: Callable[..., Bench], storage: UploadStorage, tmp_path: Path, sandbox: RunningSandbox
) -> None:
    """Both sides meet the answer that the primary met, and say the same about it."""
    sandbox.inject(FaultKind.QUOTA_EXCEEDED, "kimi", "files.create", times=None)
    comparison = bench().compare(document(tmp_path), storage)
    assert comparison.verdict is Verdict.SAME_ERROR, comparison
    assert bench().compare(tmp_path / "missing.txt", storage).verdict is Verdict.SAME_ERROR


def test_a_changed_file_is_not_a_mismatch(bench: Callable[..., Bench], storage: UploadStorage, tmp_path: Path) -> None:
    """A file that is rewritten or deleted after the call gives `stale_input`."""
    path = document(tmp_path)

    def delete_then_tell(result: Any) -> Any:
        path.unlink()
        return result

    one = bench(dataclasses.replace(DECLARED, facts=delete_then_tell))
    assert one.compare(path, storage).verdict is Verdict.STALE_INPUT


def test_an_unanswered_request_is_not_guessed_at(
    bench: Callable[..., Bench], storage: UploadStorage, tmp_path: Path, sandbox: RunningSandbox
) -> None:
    """Where the provider gave no answer there is none to give again: the comparison is dropped and says so."""
    sandbox.inject(FaultKind.DROP_AFTER_COMMIT, "kimi", "files.create")
    comparison = bench().compare(document(tmp_path), storage)
    assert comparison.verdict is Verdict.DROPPED
    assert "never answered" in comparison.detail


async def wrong_purpose(file_path: Any, storage: Any, purpose: str = "file-extract") -> Any:
    return await upload_via_supabase_gateway_kimi_async(file_path, storage, "image" if purpose else purpose)


async def uploads_twice(file_path: Any, storage: Any, purpose: str = "file-extract") -> Any:
    await upload_via_supabase_gateway_kimi_async(file_path, storage, purpose)
    return await upload_via_supabase_gateway_kimi_async(file_path, storage, purpose)


async def swallows_errors(file_path: Any, storage: Any, purpose: str = "file-extract") -> Any:
    try:
        return await upload_via_supabase_gateway_kimi_async(file_path, storage, purpose)
    except (ValueError, RuntimeError):
        return {"status": "success"}


async def other_key(file_path: Any, storage: Any, purpose: str = "file-extract") -> Any:
    return {**await upload_via_supabase_gateway_kimi_async(file_path, storage, purpose), "upload_method": "async"}


async def forgets_the_row(file_path: Any, storage: Any, purpose: str = "file-extract") -> Any:
    class Forgetful:
        upload_file_streaming = storage.upload_file_streaming

        async def record_upload_async(self, row: Any) -> None:
            pass

    return await upload_via_supabase_gateway_kimi_async(file_path, Forgetful(), purpose)


DEFECTS = {
    wrong_purpose: "requests",
    uploads_twice: "requests.count",
    other_key: "result.upload_method",
    forgets_the_row: "requests.count",
}


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.__name__)
def test_a_defect_of_the_candidate_is_seen(
    defect: Any, bench: Callable[..., Bench], storage: UploadStorage, tmp_path: Path
) -> None:
    """A candidate that sends or answers something else differs in the field that is wrong."""
    comparison = bench(dataclasses.replace(DECLARED, candidate=defect)).compare(document(tmp_path), storage)
    assert comparison.verdict in {Verdict.DIFFERENT, Verdict.CANDIDATE_ERROR}
    assert any(difference.field.startswith(DEFECTS[defect]) for difference in comparison.differences)


def test_a_swallowed_error_is_seen(bench: Callable[..., Bench], storage: UploadStorage, tmp_path: Path) -> None:
    """A candidate that answers where legacy fails is found out."""
    one = bench(dataclasses.replace(DECLARED, candidate=swallows_errors))
    assert one.compare(tmp_path / "missing.txt", storage).verdict is Verdict.LEGACY_ERROR


def test_one_changed_byte_is_seen(
    bench: Callable[..., Bench], storage: UploadStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A single byte that is different on the wire differs in the digest of the file's part."""
    write = FileBody.write

    monkeypatch.setattr(FileBody, "write", lambda self, writer: write(self, cast("Any", FlippingWriter(writer))))
    comparison = bench().compare(document(tmp_path), storage)
    assert comparison.verdict is Verdict.DIFFERENT
    assert {difference.field.rpartition(".")[2] for difference in comparison.differences} == {"sha256"}


def test_no_key_and_no_content_is_recorded(bench: Callable[..., Bench], storage: UploadStorage, tmp_path: Path) -> None:
    """What the ledger keeps of a difference holds neither credentials nor contents."""
    ledger = open_ledger(Settings(shim_home=tmp_path / "ledger"))
    one = bench(dataclasses.replace(DECLARED, candidate=wrong_purpose), ledger)
    one.compare(document(tmp_path, b"confidential words\n" * 100), storage)
    assert ledger.flush()
    dump = "\n".join(sqlite3.connect(ledger.path).iterdump())
    assert "wrong" in dump or "image" in dump
    for secret in ("planted-kimi-key", "sb_secret_planted", "confidential"):
        assert secret not in dump


@pytest.mark.parametrize("serve", Side)
@pytest.mark.parametrize(
    ("fault", "verdict"),
    [
        (Fault(kind=FaultKind.SERVER_ERROR, service="kimi", operation="files.create"), Verdict.IDENTICAL),
        (Fault(kind=FaultKind.RATE_LIMITED, service="kimi", operation="files.create"), Verdict.IDENTICAL),
        (
            Fault(kind=FaultKind.SERVER_ERROR, service="kimi", operation="files.create", times=None),
            Verdict.SAME_ERROR,
        ),
    ],
    ids=["error once", "limited once", "error always"],
)
def test_errors_of_the_provider_are_no_mismatch(
    fault: Fault, verdict: Verdict, serve: Side, bench: Callable[..., Bench], world: World
) -> None:
    """Through an error and through an outage both sides do the same, although only one looks before it sends again."""
    world.sandbox.set_faults([fault])
    comparison = bench().compare(document(world.folder), world.storage, serve=serve)
    assert comparison.verdict is verdict, (comparison.detail, comparison.differences)


def test_a_large_file_is_not_compared(bench: Callable[..., Bench], storage: UploadStorage, tmp_path: Path) -> None:
    """Legacy holds files in memory, so beyond a bound the comparison is dropped and says why."""
    with use_settings(get_settings().model_copy(update={"shadow_max_bytes": 100})):
        comparison = bench().compare(document(tmp_path, b"x" * 101), storage)
    assert comparison.verdict is Verdict.DROPPED
    assert "SHADOW_MAX_BYTES" in comparison.detail


def test_a_rehearsal_logs_nothing(bench: Callable[..., Bench], world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A row that could not be written is in the log once, for the call, and not again for its comparison."""
    world.sandbox.inject(FaultKind.SERVER_ERROR, "supabase", "table.insert", times=None)
    (world.folder / "state" / "uploads.db").mkdir(parents=True)  # so that the embedded table fails as well
    for serve in Side:
        caplog.clear()
        comparison = bench().compare(document(world.folder), world.storage, serve=serve)
        assert comparison.verdict is Verdict.IDENTICAL, comparison
        assert sum("row could not be written" in record.getMessage() for record in caplog.records) == 1
