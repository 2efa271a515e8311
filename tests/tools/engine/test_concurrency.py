"""Many at once, cancelled, on several loops."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import weakref
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from tests.tools.engine.support import Reply, WireServer
from tools import async_file_upload_refactored as facade
from tools.async_file_upload_refactored import (
    cleanup_http_session,
    get_http_session,
    get_upload_semaphore,
    upload_file_streaming_async,
    upload_multiple_files_concurrent,
    upload_via_supabase_gateway_kimi_async,
)
from tools.engine.gateway import settled
from tools.engine.throttle import snapshot
from tools.sandbox import RunningSandbox
from tools.settings import MEGABYTE, Settings, get_settings, use_settings
from tools.storage.local import LocalStorage
from tools.transport.errors import (
    ConnectionNotMadeError,
    InvalidAddressError,
    NotAFileError,
    RateLimitedError,
    RequestRefusedError,
    ServerFailedError,
)

MakeFile = Callable[[str, bytes], Path]


def test_the_facade_lists_what_it_offers() -> None:
    """`__all__` is sorted, and everything in it is there and documented."""
    assert facade.__all__ == sorted(facade.__all__)
    assert all(getattr(facade, name).__doc__ for name in facade.__all__)


async def test_a_hundred_and_twenty_uploads_at_once(
    sandbox: RunningSandbox, sandbox_settings: Settings, storage: LocalStorage, make_file: MakeFile
) -> None:
    """Each file arrives once and whole, and each caller gets his own file's id."""
    del sandbox_settings
    paths = [make_file(f"{number}.txt", os.urandom(20_000)) for number in range(120)]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(upload_via_supabase_gateway_kimi_async(str(path), storage)) for path in paths]
    names = {file["id"]: file["filename"] for file in sandbox.state()["kimi"]["files"]}
    assert len(names) == 120
    assert [names[task.result()["kimi_file_id"]] for task in tasks] == [path.name for path in paths]


@pytest.mark.usefixtures("wire_settings")
async def test_no_more_uploads_run_than_configured(
    *, wire: WireServer, wire_settings: Settings, storage: LocalStorage, make_file: MakeFile, tmp_path: Path
) -> None:
    """The throttle holds the others back before they read or send anything."""
    wire.hold = asyncio.Event()
    paths = [make_file(f"{number}.txt", b"%d" % number) for number in range(6)]
    with use_settings(wire_settings.model_copy(update={"upload_concurrency": 2})):
        uploads = [asyncio.create_task(upload_via_supabase_gateway_kimi_async(str(path), storage)) for path in paths]
        await wire.arrived.wait()
        [limiters] = snapshot()
        assert (limiters.places.inside, limiters.places.waiting) == (2, 4)
        assert not any(upload.done() for upload in uploads)
        assert len(list((tmp_path / "storage").rglob("*.txt"))) <= 2
        wire.hold.set()
        await asyncio.gather(*uploads)
    assert len(wire.posts) == 6


@pytest.mark.usefixtures("wire_settings")
@pytest.mark.parametrize("size", [100, 30 * MEGABYTE])
async def test_a_cancelled_upload_leaves_nothing_behind(
    wire: WireServer, storage: LocalStorage, make_file: MakeFile, size: int
) -> None:
    """No task but the one that looks what came of it, no connection, no open file, no place in the throttle."""
    path = make_file("a.bin", b"x" * size)
    wire.hold = asyncio.Event()
    upload = asyncio.create_task(upload_via_supabase_gateway_kimi_async(str(path), storage))
    await wire.arrived.wait()
    for _ in range(20):
        await asyncio.sleep(0)
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload
    assert _tasks_of_the_engine() == ["GatewayUpload._settled"]
    [limiters] = snapshot()
    assert limiters.places.inside == limiters.requests.inside == 0
    connector = (await get_http_session()).connector
    assert connector is not None
    assert not connector._acquired
    wire.hold.set()
    await wire.closed_by_client.wait()
    await settled()
    assert _tasks_of_the_engine() == []
    gc.collect()
    assert path not in _open_files()


def _open_files() -> set[Path]:
    return {link.resolve() for link in Path("/proc/self/fd").iterdir()}


def _tasks_of_the_engine() -> list[str]:
    """Names of the coroutines that still run, the test and its server excepted."""
    names = [getattr(task.get_coro(), "__qualname__", "?") for task in asyncio.all_tasks() if not task.done()]
    return [name for name in names if not name.startswith(("test_", "wire.", "_wrap", "WireServer"))]


@pytest.mark.usefixtures("wire_settings")
async def test_a_cancelled_batch_cancels_every_upload(wire: WireServer, make_file: MakeFile) -> None:
    """Cancelling the whole waits for its parts."""
    wire.hold = asyncio.Event()
    paths = [make_file(f"{number}.txt", b"x") for number in range(10)]
    batch = asyncio.create_task(upload_multiple_files_concurrent(paths, f"{wire.url}/files"))
    await wire.arrived.wait()
    batch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await batch
    assert _tasks_of_the_engine() == []


@pytest.mark.usefixtures("wire_settings")
async def test_one_failure_hides_nobodys_result(wire: WireServer, make_file: MakeFile, tmp_path: Path) -> None:
    """Every file has its own outcome, in the order in which the files were given."""
    paths = [make_file("a b.txt", b"first"), tmp_path / "missing", make_file("c.txt", b"third"), tmp_path]
    wire.replies = [Reply(body=b'"same for all"')]
    outcomes = await upload_multiple_files_concurrent(paths, f"{wire.url}/put/{{filename}}", max_concurrent=2)
    assert [outcome.file_path for outcome in outcomes] == paths
    assert [outcome.succeeded for outcome in outcomes] == [True, False, True, False]
    assert [type(outcome.error) for outcome in outcomes] == [type(None), FileNotFoundError, type(None), NotAFileError]
    assert outcomes[2].result == {
        "status": "success",
        "status_code": 200,
        "response": "same for all",
        "file_size": 5,
    }
    assert sorted(request.line for request in wire.posts) == [
        "POST /put/a%20b.txt HTTP/1.1",
        "POST /put/c.txt HTTP/1.1",
    ]


@pytest.mark.parametrize(
    ("status", "error"), [(400, RequestRefusedError), (429, RateLimitedError), (503, ServerFailedError)]
)
@pytest.mark.usefixtures("wire_settings")
async def test_an_http_error_is_raised_and_sent_once(
    wire: WireServer, make_file: MakeFile, status: int, error: type[Exception]
) -> None:
    """No error is returned as a success, and a message shows no query and no credentials."""
    wire.replies = [Reply(status=status, body=b"why", content_type="text/plain")]
    address = f"http://user:secret@127.0.0.1:{wire.port}/files?token=secret"
    with pytest.raises(error, match=rf"^POST http://127\.0\.0\.1:{wire.port}/files answered {status}$") as caught:
        await upload_file_streaming_async(make_file("a.txt", b"a"), address)
    assert vars(caught.value)["text"] == "why"
    assert len(wire.posts) == 1


@pytest.mark.usefixtures("pooled")
@pytest.mark.parametrize("address", ["ftp://host/x", "no address", "http://", "/files", "http://[::1/x"])
async def test_a_senseless_address_is_refused(make_file: MakeFile, address: str) -> None:
    """Only http and https addresses with a host can be uploaded to."""
    with pytest.raises(InvalidAddressError):
        await upload_file_streaming_async(make_file("a.txt", b"a"), address)


@pytest.mark.usefixtures("pooled")
async def test_no_connection_is_a_proof_that_nothing_was_sent(make_file: MakeFile) -> None:
    """A refused connection and an unknown host say so with their type."""
    path = make_file("a.txt", b"a")
    for address in ("http://127.0.0.1:1/files", "http://host.invalid/files"):
        with pytest.raises(ConnectionNotMadeError, match="nothing was sent"):
            await upload_file_streaming_async(path, address)


@pytest.mark.usefixtures("wire_settings")
async def test_the_forms_own_headers_cannot_be_overridden(wire: WireServer, make_file: MakeFile) -> None:
    """A caller's type or length would make the form unreadable; his other headers are sent."""
    headers = {"content-type": "text/plain", "Content-Length": "1", "X-Mine": "yes"}
    await upload_file_streaming_async(make_file("a.txt", b"a"), f"{wire.url}/files", headers)
    [request] = wire.posts
    assert request.headers["content-type"].startswith("multipart/form-data")
    assert request.headers["x-mine"] == "yes"


@pytest.mark.usefixtures("pooled")
async def test_the_session_is_one_for_its_loop_and_renewed_when_closed() -> None:
    """Everyone shares it; a closed one is replaced, and closing twice does no harm."""
    first, same = await asyncio.gather(get_http_session(), get_http_session())
    assert first is same
    await first.close()
    second = await get_http_session()
    assert second is not first
    assert not second.closed
    connector = second.connector
    assert isinstance(connector, aiohttp.TCPConnector)
    assert connector.limit == get_settings().upload_connections == 2 * get_settings().upload_concurrency
    await cleanup_http_session()
    await cleanup_http_session()
    assert second.closed


def test_every_loop_has_its_own_session_and_closed_loops_are_forgotten() -> None:
    """Sessions of loops that are gone are not kept for ever."""
    sessions: list[weakref.ref[aiohttp.ClientSession]] = []

    async def use() -> None:
        session = await get_http_session()
        sessions.append(weakref.ref(session))
        await session.close()  # but not `cleanup_http_session`: the loop keeps it

    for _ in range(3):
        thread = threading.Thread(target=asyncio.run, args=(use(),))
        thread.start()
        thread.join()
    gc.collect()
    assert [session() for session in sessions] == [None] * 3


async def test_the_throttle_is_shared_by_those_who_ask_for_the_same() -> None:
    """The number decides; none given means the configured one."""
    assert await get_upload_semaphore(3) is await get_upload_semaphore(3)
    assert await get_upload_semaphore(3) is not await get_upload_semaphore(4)
    assert await get_upload_semaphore() is await get_upload_semaphore(get_settings().upload_concurrency)
    with pytest.raises(ValueError, match="at least 1"):
        await get_upload_semaphore(0)


@pytest.mark.usefixtures("wire_settings")
async def test_connections_are_kept_and_used_again(wire: WireServer, make_file: MakeFile) -> None:
    """Uploads one after the other take one connection."""
    path = make_file("a.txt", b"a")
    for _ in range(3):
        await upload_file_streaming_async(path, f"{wire.url}/files")
    assert wire.connections == 1
