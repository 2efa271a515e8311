from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.tools.storage.rows import ROW
from tools.sandbox import Fault, FaultKind, RunningSandbox
from tools.storage import UploadStorage
from tools.storage import supabase as blocking
from tools.storage import supabase_pooled as asking
from tools.storage import supabase_pooled as pooled
from tools.storage import supabase_pooled as tus
from tools.storage import supabase_terms as terms
from tools.storage.port import (
    StorageConnectionLostError,
    StorageError,
    StorageRefusedError,
    StorageTimeoutError,
    StorageUnreachableError,
)
from tools.storage.supabase import SupabaseStorage
from tools.transport.errors import FileChangedError
from tools.transport.reading import open_source

Store = Callable[..., Awaitable[str]]

PATH = 'kimi-gateway/a "b" ü+%41?.txt'
RAW, LARGE = 6_000_000, 20_000_000
HEADERS_THAT_MATTER = {"x-upsert", "prefer", "accept-profile", "content-profile"}


def essence(request: dict[str, Any]) -> dict[str, Any]:
    """What a request means to the server; how an object is wrapped, in a form or not at all, is left out."""
    headers = {name.lower(): value for name, value in request["headers"]}
    seen = {
        **{name: request[name] for name in ("method", "path", "query")},
        "headers": {name: value for name, value in headers.items() if name in HEADERS_THAT_MATTER},
        "credentials": {"apikey", "authorization"} <= headers.keys(),
    }
    if request["operation"] == "object.upload":
        in_form = [part["sha256"] for part in request["parts"] if part["filename"]]
        return seen | {"sha256": in_form or [request["body_sha256"]]}
    content_type = headers.get("content-type", "").partition(";")[0]
    return seen | {"body": (request["body_bytes"], request["body_sha256"]), "content_type": content_type}


async def asked(sandbox: RunningSandbox, *actions: Callable[[], Awaitable[object]]) -> list[dict[str, Any]]:
    """What these actions send to an empty sandbox."""
    sandbox.reset()
    for action in actions:
        await action()
    return [essence(request) for request in sandbox.requests()]


async def test_both_sides_send_the_same(supabase: SupabaseStorage, sandbox: RunningSandbox, tmp_path: Path) -> None:
    """Request for request, both sides ask Supabase the same: storing, storing again, other content, rows."""
    file, other = tmp_path / "one", tmp_path / "other"
    file.write_bytes(os.urandom(300_000))
    other.write_bytes(os.urandom(300_000))

    async def blocking() -> None:
        for path in (file, file, other):
            supabase.upload_file(PATH, path.read_bytes(), 'a "b" ü.txt', "text/plain", "user_upload")
        supabase.record_upload(ROW)
        supabase.find_upload(sha256=ROW.sha256, provider="kimi")

    async def streaming() -> None:
        for path in (file, file, other):
            source = await open_source(path)
            await supabase.upload_file_streaming(PATH, source, 'a "b" ü.txt', "text/plain", "user_upload")
        await supabase.record_upload_async(ROW)
        await supabase.find_upload_async(sha256=ROW.sha256, provider="kimi")

    one, two = await asked(sandbox, blocking), await asked(sandbox, streaming)
    assert [request["method"] for request in one] == ["POST", "POST", "GET", "POST", "GET", "POST", "POST", "GET"]
    assert one == two


async def test_an_object_knows_its_hash(supabase: SupabaseStorage, sandbox: RunningSandbox, store: Store) -> None:
    """Name, type and hash of a file are kept with its copy."""
    await store(supabase, PATH, b"one")
    [kept] = sandbox.state()["supabase"]["objects"]
    assert kept["content_type"] == "text/plain"
    assert kept["metadata"] == {
        "sha256": kept["sha256"],
        "original_name": 'a "b" ü+%41?.txt',
        "file_type": "user_upload",
    }


async def test_a_missing_bucket_is_created(sandbox: RunningSandbox, store: Store) -> None:
    """The first upload into a fresh project creates a private bucket, once."""
    storage = SupabaseStorage(url=sandbox.supabase_url, key=sandbox.key, bucket="fresh")
    assert await store(storage, PATH, b"one")
    assert await store(storage, PATH, b"two")
    state = sandbox.state()["supabase"]
    assert [bucket["public"] for bucket in state["buckets"] if bucket["name"] == "fresh"] == [False]
    assert len([kept for kept in state["objects"] if kept["bucket"] == "fresh"]) == 2


async def test_an_upload_whose_answer_was_lost_is_found_again(
    supabase: SupabaseStorage, sandbox: RunningSandbox, store: Store
) -> None:
    """Repeating after a dropped answer gives the object that was stored then."""
    sandbox.inject(FaultKind.DROP_AFTER_COMMIT, "supabase")
    with pytest.raises(StorageConnectionLostError):
        await store(supabase, PATH, b"one")
    assert await store(supabase, PATH, b"one")
    assert len(sandbox.state()["supabase"]["objects"]) == 1


async def both_errors(
    supabase: UploadStorage, tmp_path: Path, arrange: Callable[[], object], *, size: int = 2_000_000
) -> list[StorageError]:
    """What either side raises for the same upload in the same situation."""
    file = tmp_path / "source"
    file.write_bytes(os.urandom(size))
    source = await open_source(file)
    errors = []
    arrange()
    with pytest.raises(StorageError) as blocking:
        supabase.upload_file(PATH, file.read_bytes(), "a.txt", None, "user_upload")
    errors.append(blocking.value)
    arrange()
    with pytest.raises(StorageError) as streaming:
        await supabase.upload_file_streaming(PATH, source, "a.txt", None, "user_upload")
    errors.append(streaming.value)
    return errors


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A way to refuse, and what is to be read of it."""

    kind: FaultKind
    text: str
    settings: dict[str, Any] = field(default_factory=dict)


@pytest.mark.parametrize(
    "refusal",
    [
        Refusal(kind=FaultKind.SERVER_ERROR, text="500 Internal: Internal Server Error"),
        Refusal(kind=FaultKind.SERVER_ERROR, settings={"status": 544}, text="544 DatabaseTimeout: Internal"),
        Refusal(kind=FaultKind.OVERLOADED, text="503 SlowDown: Please reduce your request rate"),
        Refusal(kind=FaultKind.RATE_LIMITED, settings={"retry_after": 1}, text="429 too_many_connections: "),
        Refusal(kind=FaultKind.GATEWAY_TIMEOUT, text="504 unexpected answer: <html>"),
    ],
    ids=lambda refusal: f"{refusal.kind}-{refusal.text[:3]}",
)
async def test_a_refusal_reads_the_same_on_both_sides(
    supabase: SupabaseStorage, sandbox: RunningSandbox, tmp_path: Path, refusal: Refusal
) -> None:
    """The same answer gives the same error, type and text, with what the server said and without the key."""
    one, other = await both_errors(
        supabase, tmp_path, lambda: sandbox.inject(refusal.kind, "supabase", **refusal.settings)
    )
    assert type(one) is type(other) is StorageRefusedError
    assert str(one) == str(other)
    assert str(one).startswith(f"store {PATH!r}: {refusal.text}")
    assert sandbox.key not in str(one)


async def test_a_file_that_is_too_large_for_storage(
    supabase: SupabaseStorage, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    """Storage's own limit is told in Storage's words."""
    one, other = await both_errors(supabase, tmp_path, lambda: sandbox.set_limits(storage_max_bytes=1_000_000))
    assert str(one) == str(other)
    assert "413 Payload too large: The object exceeded the maximum allowed size" in str(one)


async def test_a_broken_connection_reads_the_same_on_both_sides(
    supabase: SupabaseStorage, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    """A reset in the middle of the body is an error that leaves the outcome open."""
    one, other = await both_errors(supabase, tmp_path, lambda: sandbox.inject(FaultKind.RESET_MID_BODY, "supabase"))
    assert type(one) is type(other) is StorageConnectionLostError
    assert str(one) == str(other)


async def test_an_unreachable_storage_reads_the_same_on_both_sides(tmp_path: Path) -> None:
    """No connection means nothing was sent, and the error says so by its type."""
    storage = SupabaseStorage(url="http://127.0.0.1:9/supabase", key="secret", bucket="user-files")
    one, other = await both_errors(storage, tmp_path, lambda: None)
    assert type(one) is type(other) is StorageUnreachableError
    assert str(one) == str(other) == f"store {PATH!r}: cannot connect to http://127.0.0.1:9"
    with pytest.raises(StorageUnreachableError) as blocking:
        storage.record_upload(ROW)
    with pytest.raises(StorageUnreachableError) as pooled_error:
        await storage.record_upload_async(ROW)
    assert str(blocking.value) == str(pooled_error.value)


@pytest.mark.parametrize("size", [RAW, LARGE], ids=["raw", "resumable"])
@pytest.mark.parametrize("kind", [FaultKind.HANG, FaultKind.STALL_MID_BODY])
async def test_a_storage_that_hangs_is_given_up(
    supabase: SupabaseStorage,
    sandbox: RunningSandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    kind: FaultKind,
    size: int,
) -> None:
    """Neither side waits for ever, be it for an answer or for the server to take more."""
    for module in (blocking, asking, pooled, tus):
        monkeypatch.setattr(module, "STORAGE_SECONDS", 0.3)
    one, other = await both_errors(
        supabase,
        tmp_path,
        lambda: sandbox.set_faults([Fault(kind=kind, service="supabase", times=None)]),
        size=size,
    )
    assert type(one) is type(other) is StorageTimeoutError
    assert str(one) == str(other)


async def test_a_refused_row_reads_the_same_on_both_sides(supabase: SupabaseStorage, sandbox: RunningSandbox) -> None:
    """PostgREST's refusals are translated alike."""
    sandbox.inject(FaultKind.SERVER_ERROR, "supabase")
    with pytest.raises(StorageRefusedError) as one:
        supabase.record_upload(ROW)
    sandbox.inject(FaultKind.SERVER_ERROR, "supabase")
    with pytest.raises(StorageRefusedError) as other:
        await supabase.record_upload_async(ROW)
    assert str(one.value) == str(other.value)
    assert str(one.value).startswith(f"{terms.RECORD_ACTION}: ")


@pytest.mark.parametrize(
    ("size", "operation"), [(RAW, "object.upload"), (LARGE, "tus.patch")], ids=["raw", "resumable"]
)
async def test_a_cancelled_upload_is_cut_off(
    supabase: SupabaseStorage, sandbox: RunningSandbox, tmp_path: Path, size: int, operation: str
) -> None:
    """Cancelling ends the request at once, even if the server takes nothing more, and stores nothing."""
    file = tmp_path / "source"
    file.write_bytes(os.urandom(size))
    source = await open_source(file)
    sandbox.inject(FaultKind.STALL_MID_BODY, "supabase", operation)
    upload = asyncio.create_task(supabase.upload_file_streaming(PATH, source, "a.txt", None, "user_upload"))
    await asyncio.to_thread(sandbox.wait_for_requests, "supabase", operation)
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload
    assert len(asyncio.all_tasks()) == 1
    state = sandbox.state()["supabase"]
    assert (state["objects"], state["resumable"]) == ([], [])


async def test_a_file_that_changes_is_not_blamed_on_the_storage(supabase: SupabaseStorage, tmp_path: Path) -> None:
    """What reading the source raises reaches the caller as it is."""
    file = tmp_path / "source"
    file.write_bytes(os.urandom(3_000_000))
    source = await open_source(file)
    file.write_bytes(os.urandom(500_000))
    with pytest.raises(FileChangedError):
        await supabase.upload_file_streaming(PATH, source, "a.txt", None, "user_upload")


async def test_a_storage_can_be_looked_for_elsewhere(sandbox: RunningSandbox, store: Store) -> None:
    """The same bucket and key at another address."""
    storage = SupabaseStorage(url="http://127.0.0.1:9", key=sandbox.key, bucket="user-files")
    assert await store(storage.moved_to(sandbox.supabase_url), PATH, b"one")


async def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    """The key goes to no other server."""
    asked: list[str] = []

    async def redirect(request: web.Request) -> web.Response:
        asked.append(request.path)
        await request.read()
        return web.Response(status=307, headers={"Location": "/elsewhere"})

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", redirect)
    file = tmp_path / "source"
    file.write_bytes(b"one")
    source = await open_source(file)
    async with TestServer(application) as server:
        storage = SupabaseStorage(url=str(server.make_url("/here")), key="secret", bucket="user-files")
        with pytest.raises(StorageRefusedError) as one:
            await asyncio.to_thread(storage.upload_file, PATH, b"one", "a.txt", None, "user_upload")
        with pytest.raises(StorageRefusedError) as other:
            await storage.upload_file_streaming(PATH, source, "a.txt", None, "user_upload")
    assert str(one.value) == str(other.value)
    assert len(asked) == 2
    assert "/elsewhere" not in asked


def test_the_key_is_not_shown(sandbox: RunningSandbox) -> None:
    """Printing the storage or its target gives nothing away."""
    storage = SupabaseStorage(url=sandbox.supabase_url, key="sb_secret_123", bucket="user-files")
    assert "sb_secret_123" not in repr(storage) + repr(storage._target)
