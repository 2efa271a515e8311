"""What the journal says in the end, whatever happened to an upload."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shim.http.egress import EgressGate, behind, confined_to
from tests.tools.journal.conftest import Upload, World, upload_on_a_loop
from tests.tools.protected import upload_to_kimi
from tools.async_file_upload_refactored import cleanup_http_session, upload_via_supabase_gateway_kimi_async
from tools.engine import gateway as settling
from tools.engine.gateway import settled
from tools.journal.port import CLAIMING, State, UploadSide
from tools.sandbox import FaultKind
from tools.settings import use_settings
from tools.storage.port import StorageError, UploadRow


class Watched:
    """A storage that tells what the journal holds when its copy is asked for."""

    def __init__(self, world: World, *, rows: bool = True) -> None:
        self._world = world
        self._rows = rows
        self.at_store: list[Any] = []

    def upload_file(self, *args: Any, **kwargs: Any) -> str:
        self.at_store = list(self._world.journal.unfinished())
        return self._world.storage.upload_file(*args, **kwargs)

    def record_upload(self, row: UploadRow) -> None:
        if not self._rows:
            raise StorageError("no row today")
        self._world.storage.record_upload(row)


def row_of(world: World, content: bytes = b"content") -> UploadRow | None:
    return world.storage.find_upload(sha256=hashlib.sha256(content).hexdigest(), provider="kimi")


def test_the_intent_is_written_before_anything_leaves(world: World, upload: Upload) -> None:
    """When the storage is asked for its copy the journal has the intent; in the end nothing is left to do."""
    storage, path = Watched(world), world.file()
    upload(path, storage)
    [entry] = storage.at_store
    assert (entry.intent.filename, entry.intent.size, entry.intent.path) == ("report.txt", 7, str(path))
    assert (entry.intent.provider, entry.intent.account) == ("kimi", world.sandbox.urls["kimi"])
    assert entry.intent.sha256 == hashlib.sha256(b"content").hexdigest()
    assert entry.intent.side is (UploadSide.ASYNC if upload is upload_on_a_loop else UploadSide.LEGACY)
    assert entry.state is State.INTENDED
    assert world.unfinished == []


def test_a_relative_path_is_kept_whole(world: World, upload: Upload, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recovery finds the file wherever it is run."""
    path = world.file()
    monkeypatch.chdir(path.parent)
    storage = Watched(world)
    upload(path.name, storage)
    assert storage.at_store[0].intent.path == str(path)


@pytest.mark.parametrize("problem", ["refused", "overloaded for good", "no connection", "no key", "no copy"])
def test_a_certain_failure_leaves_nothing(world: World, upload: Upload, problem: str) -> None:
    """Where nothing can have been made there is nothing to recover, and the next upload has the claim."""
    settings, purpose = world.settings, "file-extract"
    if problem == "refused":
        purpose = "nonsense"
    elif problem == "overloaded for good":
        world.sandbox.inject(FaultKind.QUOTA_EXCEEDED, "kimi", "files.create", times=None)
    elif problem == "no connection":
        settings = settings.model_copy(update={"kimi_api_url": "http://127.0.0.1:9/v1"})
    elif problem == "no key":
        settings = settings.model_copy(update={"kimi_api_key": None})
    storage: Any = world.storage
    if problem == "no copy":
        storage = Watched(world)
        storage.upload_file = None
    with use_settings(settings), pytest.raises(RuntimeError, match="Failed to upload"):
        upload(world.file(), storage, purpose)
    assert world.unfinished == []
    world.sandbox.clear_faults()
    assert upload(world.file(), world.storage)["kimi_file_id"]


def test_a_silent_retry_of_the_sdk_is_noticed(world: World) -> None:
    """The client lost an answer, sent again by itself, and answered one id: the other file is left to recovery."""
    world.sandbox.inject(FaultKind.DROP_AFTER_COMMIT, "kimi", "files.create")
    answered = upload_to_kimi(world.file(), world.storage)["kimi_file_id"]
    assert len(world.held) == 2
    [entry] = world.unfinished
    assert (entry.state, entry.facts.attempts, entry.facts.provider_file_id) == (State.UNKNOWN, 2, answered)
    assert row_of(world) is not None


def test_a_refused_attempt_of_the_sdk_leaves_no_doubt(world: World) -> None:
    """After a refusal the client sends again; nothing was made by the first attempt."""
    world.sandbox.inject(FaultKind.RATE_LIMITED, "kimi", "files.create")
    upload_to_kimi(world.file(), world.storage)
    assert len(world.held) == 1
    assert world.unfinished == []


def test_lost_answers_leave_an_unknown_outcome(world: World) -> None:
    """The SDK gave up after three lost answers: no caller was told an id, and recovery is to look."""
    world.sandbox.inject(FaultKind.DROP_AFTER_COMMIT, "kimi", "files.create", times=3)
    with pytest.raises(RuntimeError, match="Connection error"):
        upload_to_kimi(world.file(), world.storage)
    [entry] = world.unfinished
    assert (entry.state, entry.facts.attempts, entry.facts.provider_file_id) == (State.UNKNOWN, 3, None)
    assert (entry.facts.error, entry.owner) == ("APIConnectionError", None)
    assert entry.facts.supabase_file_id is not None


def test_a_file_that_was_found_leaves_no_doubt(world: World) -> None:
    """The new implementation looks before it sends again, so one file is made and all is known."""
    world.sandbox.inject(FaultKind.DROP_AFTER_COMMIT, "kimi", "files.create")
    answered = upload_on_a_loop(world.file(), world.storage)["kimi_file_id"]
    assert [file["id"] for file in world.held] == [answered]
    assert world.unfinished == []


def test_a_row_that_cannot_be_written_is_recoverys(world: World, upload: Upload) -> None:
    """The upload stands, and its row can still be written."""
    answered = upload(world.file(), Watched(world, rows=False))["kimi_file_id"]
    [entry] = world.unfinished
    assert (entry.state, entry.facts.provider_file_id) == (State.UNKNOWN, answered)
    assert entry.facts.error == "the row could not be written"


async def _until(happened: Callable[[], object]) -> None:
    def wait() -> None:
        deadline = time.monotonic() + 20
        while not happened():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    await asyncio.to_thread(wait)


async def _cancelled_upload(world: World, path: Path, *, after: float) -> asyncio.Task[dict[str, Any]]:
    task = asyncio.create_task(upload_via_supabase_gateway_kimi_async(path, world.storage))
    await _until(lambda: world.held)
    await asyncio.sleep(after)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return task


async def test_a_cancelled_upload_gets_its_row(world: World) -> None:
    """The provider made the file and no caller waits for it: it is found, tracked, and shared with who waits."""
    world.sandbox.inject(FaultKind.LATENCY, "kimi", "files.create", seconds=2)
    path = world.file()
    waiting = asyncio.create_task(_later(world, path))
    task = await _cancelled_upload(world, path, after=0.2)
    assert task.cancelled()
    assert [entry.state in CLAIMING for entry in world.journal.unfinished()] == [True]
    await settled()
    row = row_of(world)
    assert row is not None
    assert [file["id"] for file in world.held] == [row.provider_file_id]
    assert (await waiting)["kimi_file_id"] == row.provider_file_id
    assert world.unfinished == []
    await cleanup_http_session()


async def _later(world: World, path: Path) -> dict[str, Any]:
    await _until(lambda: world.held)
    return await upload_via_supabase_gateway_kimi_async(path, world.storage)


async def test_a_cancelled_upload_without_a_file_is_recoverys(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is found, which proves nothing: the provider may still be at it."""
    monkeypatch.setattr(settling, "_LOOKS_AFTER_SECONDS", (0.0, 0.01))
    world.sandbox.inject(FaultKind.HANG, "kimi", "files.create")
    task = asyncio.create_task(upload_via_supabase_gateway_kimi_async(world.file(), world.storage))
    await _until(lambda: any(request["path"].endswith("/files") for request in world.sandbox.requests()))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await settled()
    [entry] = world.unfinished
    assert (entry.state, entry.facts.error) == (State.UNKNOWN, "CancelledError")
    await cleanup_http_session()


async def test_a_bounded_number_is_settled_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What there is no room for is recovery's."""
    monkeypatch.setattr(settling, "MAX_RECOVERIES", 0)
    world.sandbox.inject(FaultKind.LATENCY, "kimi", "files.create", seconds=1)
    await _cancelled_upload(world, world.file(), after=0)
    assert [entry.state for entry in world.unfinished] == [State.UNKNOWN]
    await cleanup_http_session()


def test_a_shadow_does_not_touch_the_journal(world: World, upload: Upload) -> None:
    """Neither a rehearsal nor a trial claims or writes anything."""
    with confined_to(world.sandbox.urls["kimi"].removesuffix("/v1").rsplit("/kimi", 1)[0]):
        upload(world.file(b"rehearsed"), world.storage)
    with behind(EgressGate()):
        upload(world.file(b"tried"), world.storage)
    assert not world.settings.uploads_db.exists()


def test_the_journal_holds_no_secret(world: World, upload: Upload) -> None:
    """Neither contents nor keys, also after failures."""
    world.sandbox.inject(FaultKind.SERVER_ERROR, "kimi", "files.create", times=None)
    with pytest.raises(RuntimeError):
        upload(world.file(b"the secret content"), world.storage)
    assert len(world.unfinished) == 1
    written = b"".join(path.read_bytes() for path in world.settings.shim_home.iterdir() if path.is_file())
    assert b"report.txt" in written
    assert b"kimi-key" not in written
    assert b"the secret content" not in written
