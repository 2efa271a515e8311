"""The gateway functions against the scripted server: what callers see, compared with legacy where it is cheap."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tools.engine.support import KEY, Reply, Waits, WireServer, chain_of, our_error
from tools.async_file_upload_refactored import (
    upload_via_supabase_gateway_glm_async,
    upload_via_supabase_gateway_kimi_async,
)
from tools.providers.glm.glm_files import upload_via_supabase_gateway_glm
from tools.providers.kimi.kimi_files import upload_via_supabase_gateway_kimi
from tools.providers.spec import GLM, KIMI, Provider
from tools.settings import MEGABYTE, Settings, use_settings
from tools.storage.local import LocalStorage
from tools.storage.port import StorageTimeoutError, StorageUnreachableError, UploadRow
from tools.transport.errors import ConnectionNotMadeError

MakeFile = Callable[[str, bytes], Path]
Legacy = Callable[..., dict[str, Any]]

PROVIDERS = [
    pytest.param(KIMI, upload_via_supabase_gateway_kimi, id="kimi"),
    pytest.param(GLM, upload_via_supabase_gateway_glm, id="glm"),
]


async def _legacy_error(upload: Legacy, path: Path, storage: object) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011  # whichever it is, it is compared
        await asyncio.to_thread(upload, str(path), storage)
    assert isinstance(caught.value, Exception)
    return caught.value


@pytest.mark.parametrize(("provider", "legacy"), PROVIDERS)
async def test_the_result_and_the_row_are_what_legacy_makes(
    *,
    wire: WireServer,
    wire_settings: Settings,  # noqa: ARG001  # in force
    storage: LocalStorage,
    make_file: MakeFile,
    provider: Provider,
    legacy: Legacy,
) -> None:
    """Keys, values and the tracked row agree; only the row's times differ."""
    wire.replies = [Reply(body=b'{"id": "file-9", "object": "file"}')]
    path = make_file("Ä report.pdf", os.urandom(300_000))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    theirs = await asyncio.to_thread(legacy, str(path), storage)
    their_row = storage.find_upload(sha256=digest, provider=provider.name)
    modern = upload_via_supabase_gateway_kimi_async if provider is KIMI else upload_via_supabase_gateway_glm_async
    ours = await modern(str(path), storage)
    our_row = storage.find_upload(sha256=digest, provider=provider.name)
    assert ours == theirs
    assert list(ours) == list(theirs)
    assert our_row is not None
    assert their_row is not None
    for name in ("provider_file_id", "supabase_file_id", "sha256", "filename", "file_size_bytes", "upload_method"):
        assert getattr(our_row, name) == getattr(their_row, name)


NO_RETRY = {"x-should-retry": "false"}
ANSWERS = [
    Reply(status=400, body=b'{"error": {"type": "invalid_request_error", "message": "File size is zero"}}'),
    Reply(status=401, body=b'{"error": {"code": "1000", "message": "Authentication Failed"}}'),
    Reply(status=403, body=b'{"message": "flat"}'),
    Reply(status=404, body=b""),
    Reply(status=409, body=b'{"error": "a string"}', headers=NO_RETRY),
    Reply(status=413, body=b"  Payload too large \n", content_type="text/plain"),
    Reply(status=418, body=b'["a", "list"]'),
    Reply(status=422, body="{'not': 'json'} ü".encode()),
    Reply(status=429, body=b'{"error": {"type": "exceeded_current_quota_error", "message": ""}}', headers=NO_RETRY),
    Reply(status=434, body="kein Zugang ü".encode("latin-1"), content_type="text/plain; charset=latin-1"),
    Reply(status=435, body=b"\xff\xfe broken", content_type="text/plain; charset=no-such"),
    Reply(status=500, body=b'{"error": {"message": "Failed to extract file"}}', headers=NO_RETRY),
    Reply(status=504, body=b"<html><body>504 Gateway Time-out</body></html>", headers=NO_RETRY),
    Reply(status=302, body=b"", headers={**NO_RETRY}),
    Reply(body=b'{"error": {"code": "1305", "message": "The API has triggered a rate limit"}}'),
    Reply(body=b'{"id": null}'),
    Reply(body=b"{}"),
    Reply(body=b"[]"),
    Reply(body=b"null"),
    Reply(body=b'"text"'),
    Reply(body=b"7"),
    Reply(body=b"no json"),
    Reply(body=b""),
    Reply(body=b"no json", content_type="text/html"),
    Reply(body=b"no json", content_type=""),
    Reply(body=b"no json", content_type="application/problem+json"),
    Reply(body=b"\xff", content_type="application/json; charset=utf-8"),
]


@pytest.mark.parametrize("reply", ANSWERS, ids=lambda reply: f"{reply.status} {reply.body[:20]!r}")
@pytest.mark.parametrize(("provider", "legacy"), PROVIDERS)
async def test_every_answer_ends_in_the_error_that_legacy_raises(
    *,
    wire: WireServer,
    wire_settings: Settings,  # noqa: ARG001  # in force
    storage: LocalStorage,
    make_file: MakeFile,
    waits: Waits,
    provider: Provider,
    legacy: Legacy,
    reply: Reply,
) -> None:
    """Type and text are those of the vendor's SDK for the very same bytes."""
    wire.replies = [reply]
    path = make_file("a.txt", b"content")
    theirs = await _legacy_error(legacy, path, storage)
    ours = await our_error(provider, path, storage, waits)
    assert (type(ours), str(ours)) == (type(theirs), str(theirs))
    assert type(ours) is RuntimeError
    assert KEY not in repr(ours) + repr(ours.__cause__)


@pytest.mark.parametrize(("provider", "legacy"), PROVIDERS)
async def test_unusable_paths_are_refused_as_by_legacy(
    *,
    wire: WireServer,
    wire_settings: Settings,
    storage: LocalStorage,
    make_file: MakeFile,
    tmp_path: Path,
    waits: Waits,
    provider: Provider,
    legacy: Legacy,
) -> None:
    """Missing, directory, pipe, dangling link, too large, NUL: same type, same text, and nothing is sent."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to("nowhere")
    small = wire_settings.model_copy(update={"kimi_max_bytes": 5, "glm_max_bytes": 5})
    too_large = make_file("large.txt", b"123456")
    with use_settings(small):
        for path in (tmp_path / "missing", tmp_path, tmp_path / "pipe", tmp_path / "dangling", too_large):
            theirs = await _legacy_error(legacy, path, storage)
            ours = await our_error(provider, path, storage, waits)
            assert (type(ours), str(ours)) == (type(theirs), str(theirs))
            assert type(ours) is ValueError
    assert wire.requests == []


async def test_a_missing_key_is_reported_as_by_legacy(
    wire_settings: Settings, storage: LocalStorage, make_file: MakeFile, waits: Waits
) -> None:
    """The variable to set is named."""
    path = make_file("a.txt", b"a")
    with use_settings(wire_settings.model_copy(update={"kimi_api_key": None})):
        theirs = await _legacy_error(upload_via_supabase_gateway_kimi, path, storage)
        ours = await our_error(KIMI, path, storage, waits)
    assert str(ours) == str(theirs) == "Failed to upload to Kimi via SDK: KIMI_API_KEY is not set"


class FailingStorage(LocalStorage):
    """A storage that fails where it is told to."""

    def __init__(self, root: Path, *, storing: Exception | None = None, recording: Exception | None = None) -> None:
        super().__init__(root)
        self.storing = storing
        self.recording = recording

    def upload_file(self, *args: Any, **kwargs: Any) -> str:
        if self.storing:
            raise self.storing
        return super().upload_file(*args, **kwargs)

    async def upload_file_streaming(self, *args: Any, **kwargs: Any) -> str:
        if self.storing:
            raise self.storing
        return await super().upload_file_streaming(*args, **kwargs)

    def record_upload(self, row: UploadRow) -> None:
        if self.recording:
            raise self.recording
        super().record_upload(row)


async def test_a_failing_storage_is_reported_as_by_legacy(
    wire: WireServer,
    wire_settings: Settings,  # noqa: ARG001  # in force
    make_file: MakeFile,
    tmp_path: Path,
    waits: Waits,
) -> None:
    """The storage's own words stand behind the known prefix, and the provider is not asked."""
    path = make_file("a.txt", b"a")
    storage = FailingStorage(tmp_path / "s", storing=KeyError("odd"))
    theirs = await _legacy_error(upload_via_supabase_gateway_kimi, path, storage)
    ours = await our_error(KIMI, path, storage, waits)
    assert (
        (type(ours), str(ours)) == (type(theirs), str(theirs)) == (RuntimeError, "Failed to upload to Supabase: 'odd'")
    )
    assert wire.requests == []


async def test_a_failing_row_is_logged_as_by_legacy_and_the_upload_stands(
    wire_settings: Settings,  # noqa: ARG001  # in force
    make_file: MakeFile,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Tracking is worth a warning, no more."""
    path = make_file("a.txt", b"a")
    storage = FailingStorage(tmp_path / "s", recording=StorageTimeoutError(action="write the row", address="there"))
    with caplog.at_level(logging.WARNING):
        theirs = await asyncio.to_thread(upload_via_supabase_gateway_kimi, str(path), storage)
        ours = await upload_via_supabase_gateway_kimi_async(str(path), storage)
    assert ours == theirs
    notes = [(r.levelno, r.getMessage(), r.exc_info is None) for r in caplog.records if "its row" in r.getMessage()]
    assert len(notes) == 2
    assert notes[0] == notes[1]


class ForeignStorage:
    """A storage that knows only what legacy calls, and blocks."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.rows: list[UploadRow] = []

    def upload_file(self, **call: Any) -> str:
        with pytest.raises(RuntimeError, match="no running event loop"):
            asyncio.get_running_loop()
        self.calls.append(call)
        return "their-id"

    def record_upload(self, row: UploadRow) -> None:
        self.rows.append(row)


@pytest.mark.parametrize("size", [5, MEGABYTE])
async def test_a_foreign_storage_gets_legacys_call_in_a_thread(
    wire_settings: Settings,  # noqa: ARG001  # in force
    make_file: MakeFile,
    size: int,
) -> None:
    """An object with nothing but `upload_file` and `record_upload` works, off the event loop."""
    path = make_file("a.txt", b"x" * size)
    storages = [ForeignStorage(), ForeignStorage()]
    theirs = await asyncio.to_thread(upload_via_supabase_gateway_kimi, str(path), storages[0])  # type: ignore[arg-type]  # foreign
    ours = await upload_via_supabase_gateway_kimi_async(str(path), storages[1])  # type: ignore[arg-type]  # likewise
    assert ours == theirs
    assert storages[0].calls == storages[1].calls
    assert storages[0].rows == storages[1].rows


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _proves_that_nothing_was_sent(error: BaseException) -> bool:
    return any(isinstance(link, ConnectionNotMadeError) for link in chain_of(error))


async def test_an_unreachable_storage_proves_that_nothing_was_sent(
    wire: WireServer,
    wire_settings: Settings,  # noqa: ARG001  # in force
    make_file: MakeFile,
    tmp_path: Path,
    waits: Waits,
) -> None:
    """The storage comes first, so a connection to it that never came about is a proof."""
    unreachable = StorageUnreachableError(action="store 'a'", address="nowhere")
    error = await our_error(KIMI, make_file("a.txt", b"a"), FailingStorage(tmp_path / "s", storing=unreachable), waits)
    assert isinstance(error.__cause__, ConnectionNotMadeError)
    assert str(error) == f"Failed to upload to Supabase: {unreachable}"
    assert wire.requests == []


async def test_an_unreachable_provider_proves_nothing_once_the_copy_is_stored(
    wire_settings: Settings, storage: LocalStorage, make_file: MakeFile, waits: Waits, pooled: None
) -> None:
    """The text is the SDK's; nowhere in the chain stands a proof, because the storage has its copy."""
    del pooled
    path = make_file("a.txt", b"a")
    with use_settings(wire_settings.model_copy(update={"kimi_api_url": f"http://127.0.0.1:{_free_port()}"})):
        theirs = await _legacy_error(upload_via_supabase_gateway_kimi, path, storage)
        ours = await our_error(KIMI, path, storage, waits)
    assert str(ours) == str(theirs) == "Failed to upload to Kimi via SDK: Connection error."
    assert not _proves_that_nothing_was_sent(ours)
    assert waits.seconds == [0.5, 1.0]


async def test_a_redirect_is_not_followed(
    wire: WireServer,
    wire_settings: Settings,  # noqa: ARG001  # in force
    storage: LocalStorage,
    make_file: MakeFile,
    waits: Waits,
) -> None:
    """File and key never go elsewhere; the status is the error."""
    wire.replies = [Reply(status=307, body=b"", headers={"Location": f"{wire.url}/elsewhere"})]
    error = await our_error(KIMI, make_file("a.txt", b"a"), storage, waits)
    assert str(error) == "Failed to upload to Kimi via SDK: Error code: 307"
    assert len(wire.requests) == 1


async def test_an_answer_without_end_is_not_read(
    wire: WireServer,
    wire_settings: Settings,  # noqa: ARG001  # in force
    storage: LocalStorage,
    make_file: MakeFile,
    waits: Waits,
) -> None:
    """Memory is bounded against the server, too."""
    wire.replies = [Reply(body=json.dumps({"id": "x" * 2 * MEGABYTE}).encode())]
    error = await our_error(KIMI, make_file("a.txt", b"a"), storage, waits)
    assert str(error) == "Failed to upload to Kimi via SDK: Connection error."
    assert "longer than" in str(error.__cause__)
