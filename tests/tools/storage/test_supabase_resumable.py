"""Resumable uploads against the sandbox: whatever breaks, the object is whole, and what was sent is not sent again."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tools.sandbox import FaultKind, RunningSandbox
from tools.settings import MEGABYTE, get_settings, use_settings
from tools.storage import supabase_pooled as tus
from tools.storage.port import (
    StorageConnectionLostError,
    StorageRefusedError,
    StorageTimeoutError,
    StorageUnreachableError,
)
from tools.storage.supabase import SupabaseStorage
from tools.storage.tus_policy import PIECE_BYTES
from tools.transport.errors import FileChangedError
from tools.transport.loops import Clock
from tools.transport.reading import FileSource, open_source

PATH = "kimi-gateway/large.bin"
SIZE = 2 * PIECE_BYTES + 100_000
BROKEN = [FaultKind.DROP_AFTER_COMMIT, FaultKind.RESET_MID_BODY]
REFUSED = [FaultKind.SERVER_ERROR, FaultKind.OVERLOADED, FaultKind.RATE_LIMITED, FaultKind.GATEWAY_TIMEOUT]
STEPS = ["tus.create", "tus.patch", "object.info"]


async def large(folder: Path, size: int = SIZE) -> FileSource:
    path = folder / "large.bin"
    path.write_bytes(os.urandom(size))
    return await open_source(path)


async def store(storage: SupabaseStorage, source: FileSource) -> str:
    return await storage.upload_file_streaming(PATH, source, "large.bin", None, "user_upload")


def sent_bytes(sandbox: RunningSandbox) -> int:
    """What the sandbox took in of all pieces."""
    return sum(request["body_bytes"] for request in sandbox.requests("supabase", "tus.patch"))


def is_whole(sandbox: RunningSandbox, source: FileSource) -> bool:
    """Whether the one object there is the source, and nothing unfinished is beside it."""
    state = sandbox.state()["supabase"]
    return [kept["sha256"] for kept in state["objects"]] == [source.sha256] and state["resumable"] == []


@pytest.mark.parametrize("kind", [*BROKEN, *REFUSED])
@pytest.mark.parametrize("operation", STEPS)
async def test_a_failure_at_any_step_is_borne(
    operation: str, kind: FaultKind, supabase: SupabaseStorage, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    """The caller gets the id of a whole object, and at most one piece was sent twice."""
    source = await large(tmp_path)
    sandbox.inject(kind, "supabase", operation, times=2, after_bytes=MEGABYTE)
    identity = await store(supabase, source)
    assert is_whole(sandbox, source) or operation == "tus.create"  # a lost announcement is one that Storage forgets
    assert [kept["sha256"] for kept in sandbox.state()["supabase"]["objects"]] == [source.sha256]
    assert sent_bytes(sandbox) <= SIZE + 2 * PIECE_BYTES
    assert await store(supabase, source) == identity


@pytest.mark.parametrize("kind", [*BROKEN, *REFUSED])
async def test_a_failure_while_asking_for_the_offset_is_borne(
    kind: FaultKind, supabase: SupabaseStorage, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    """After a broken piece the question how much arrived may fail as well."""
    source = await large(tmp_path)
    sandbox.inject(FaultKind.RESET_MID_BODY, "supabase", "tus.patch", after_bytes=3 * MEGABYTE)
    sandbox.inject(kind, "supabase", "tus.head", times=2)
    await store(supabase, source)
    assert is_whole(sandbox, source)
    assert sent_bytes(sandbox) == SIZE


async def test_a_lost_answer_to_the_last_piece_is_cleared_up(
    supabase: SupabaseStorage, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    """No answer said that the object was made: beginning it once more is refused, so it is looked at and is ours."""
    source = await large(tmp_path, PIECE_BYTES + 1)
    sandbox.inject(FaultKind.DROP_AFTER_COMMIT, "supabase", "tus.patch", times=2)
    identity = await store(supabase, source)
    assert is_whole(sandbox, source)
    assert sent_bytes(sandbox) == PIECE_BYTES + 1
    operations = [request["operation"] for request in sandbox.requests("supabase")]
    assert operations[-3:] == ["tus.head", "tus.create", "object.info"]
    assert await store(supabase, source) == identity


async def test_fifty_megabytes_over_a_connection_that_keeps_breaking(
    supabase: SupabaseStorage, sandbox: RunningSandbox, tmp_path: Path, say: Callable[[str], None]
) -> None:
    """What has arrived is not sent again, nothing of the file is held, and the object is intact."""
    await store(supabase, await large(tmp_path, 2 * MEGABYTE))
    sandbox.reset()
    source = await large(tmp_path, 50_000_000)
    times = 12
    sandbox.inject(FaultKind.RESET_MID_BODY, "supabase", "tus.patch", times=times, after_bytes=2 * MEGABYTE)
    Path("/proc/self/clear_refs").write_text("5")  # noqa: ASYNC240  # resets the peak of this process
    before = _mebibytes("VmRSS")
    await store(supabase, source)
    growth = _mebibytes("VmHWM") - before
    assert is_whole(sandbox, source)
    ended = [request["ended"] for request in sandbox.requests("supabase", "tus.patch")]
    assert ended.count("reset") == times
    repeated = sent_bytes(sandbox) / source.size - 1
    say(f"{times} broken connections, {repeated:.2%} sent again, memory grew by {growth:.1f} MiB at most")
    assert repeated < 0.01
    assert growth < 25


def _mebibytes(field: str) -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition(f"{field}:")[2].split()[0]) / 1024


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        ("tus.patch", "Please reduce your request rate"),
        ("tus.head", "no message"),
        ("object.info", "Please reduce your request rate"),
    ],
)
async def test_an_upload_that_is_given_up_is_removed(
    operation: str, message: str, supabase: SupabaseStorage, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    """After so many failures in a row the error is told as by a single request, and nothing half stays."""
    source = await large(tmp_path)
    sandbox.inject(FaultKind.RESET_MID_BODY, "supabase", "tus.patch")
    sandbox.inject(FaultKind.OVERLOADED, "supabase", operation, times=None)
    with pytest.raises(StorageRefusedError, match=f"^store '{PATH}': 503 SlowDown: {message}$"):
        await store(supabase, source)
    assert sandbox.state()["supabase"]["resumable"] == []


async def test_removing_is_bounded_in_time(
    supabase: SupabaseStorage, sandbox: RunningSandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An upload that cannot remove what has arrived says so, and ends with the upload's own error."""
    source = await large(tmp_path)
    sandbox.inject(FaultKind.OVERLOADED, "supabase", "tus.patch", times=None)
    sandbox.inject(FaultKind.HANG, "supabase", "tus.delete")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tus, "REMOVAL_SECONDS", 0.2)
        with pytest.raises(StorageRefusedError, match="503 SlowDown"):
            await store(supabase, source)
    assert "could not be removed" in caplog.text
    sandbox.clear_faults()


async def test_a_file_that_changes_leaves_nothing(
    supabase: SupabaseStorage, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    """The file's own error reaches the caller, and the pieces that had arrived are removed."""
    source = await large(tmp_path)
    os.truncate(source.path, PIECE_BYTES)
    with pytest.raises(FileChangedError):
        await store(supabase, source)
    state = sandbox.state()["supabase"]
    assert (state["objects"], state["resumable"]) == ([], [])


async def test_the_whole_upload_is_bounded_in_time(
    supabase: SupabaseStorage, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    """A server that answers, but never gets on, is given up."""
    source = await large(tmp_path)
    sandbox.inject(FaultKind.LATENCY, "supabase", "tus.patch", seconds=60, times=None)
    with (
        use_settings(get_settings().model_copy(update={"upload_timeout": 0.5})),
        pytest.raises(StorageTimeoutError, match=f"^store '{PATH}': "),
    ):
        await store(supabase, source)
    sandbox.clear_faults()


async def test_other_content_in_pieces_gets_a_place_of_its_own(sandbox: RunningSandbox, tmp_path: Path) -> None:
    """One rule for both drivers: the same content is the same object, other content is another, the bucket is made."""
    storage = SupabaseStorage(url=sandbox.supabase_url, key=sandbox.key, bucket="fresh")
    first = await large(tmp_path)
    content = first.path.read_bytes()
    one = await store(storage, first)
    assert storage.upload_file(PATH, content, "large.bin", None, "user_upload") == one
    assert await store(storage, first) == one
    second = await store(storage, await large(tmp_path))
    assert second != one
    assert len(sandbox.state()["supabase"]["objects"]) == 2


@asynccontextmanager
async def odd_server(status: int, location: str = "") -> AsyncIterator[tuple[SupabaseStorage, list[tuple[str, str]]]]:
    """A Storage that answers announcements like this, takes everything else, and lists what it was asked."""
    asked: list[tuple[str, str]] = []

    async def announced(request: web.Request) -> web.Response:
        asked.append((request.method, request.path))
        return web.Response(status=status, text="no such route", headers={"Location": location} if location else {})

    async def piece(request: web.Request) -> web.Response:
        asked.append((request.method, request.path))
        length = len(await request.read()) + int(request.headers["Upload-Offset"])
        return web.Response(status=204, headers={"Upload-Offset": str(length)})

    async def whole(request: web.Request) -> web.Response:
        asked.append((request.method, request.path))
        digest = hashlib.sha256(await request.read()).hexdigest()
        return web.json_response({"Key": "k", "Id": digest, "id": digest, "size": SIZE})

    application = web.Application(client_max_size=100 * MEGABYTE)
    application.router.add_post("/storage/v1/upload/resumable", announced)
    application.router.add_patch("/storage/v1/upload/resumable/{id}", piece)
    application.router.add_route("*", "/storage/v1/object/{path:.*}", whole)
    async with TestServer(application) as server:
        yield SupabaseStorage(url=str(server.make_url("/")).rstrip("/"), key="secret", bucket="user-files"), asked


@pytest.mark.parametrize("status", [404, 405, 501])
async def test_a_server_without_resumable_uploads_gets_the_whole(status: int, tmp_path: Path) -> None:
    """Nothing was created, so one request with everything does it."""
    source = await large(tmp_path)
    async with odd_server(status) as (storage, asked):
        assert await store(storage, source) == source.sha256
    assert [method for method, _ in asked] == ["POST", "POST"]


@pytest.mark.parametrize(
    "location", ["http://elsewhere.example/storage/v1/upload/resumable/ab%3Dc", "//elsewhere.example/ab=c", "ab=c"]
)
async def test_an_upload_stays_where_it_began(location: str, tmp_path: Path) -> None:
    """Wherever a server says it is, neither key nor file goes there: only the upload's name is taken from it."""
    source = await large(tmp_path)
    async with odd_server(201, location) as (storage, asked):
        await store(storage, source)
    assert {path for method, path in asked if method == "PATCH"} == {"/storage/v1/upload/resumable/ab=c"}


async def test_an_unreachable_storage_is_told_at_once(tmp_path: Path) -> None:
    """That nothing was sent is a proof, and legacy can serve the call."""
    storage = SupabaseStorage(url="http://127.0.0.1:9", key="secret", bucket="user-files")
    with pytest.raises(StorageUnreachableError):
        await store(storage, await large(tmp_path))


async def test_a_storage_that_vanishes_is_no_proof(tmp_path: Path, quick: Clock) -> None:
    """Once something was sent, an address that does not answer any more is a lost connection."""

    async def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        server.close()
        writer.write(b"HTTP/1.1 201 Created\r\nLocation: /u\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(begin, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    storage = SupabaseStorage(url=f"http://127.0.0.1:{port}", key="secret", bucket="user-files", clock=quick)
    with pytest.raises(StorageConnectionLostError):
        await store(storage, await large(tmp_path))
