"""The body of an upload on the wire, on both event loops, in the clear and encrypted."""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.tools.engine.serving import NEW_LOOPS, answered, listening, request_head, scripted
from tools.async_file_upload_refactored import upload_file_streaming_async
from tools.settings import MEGABYTE
from tools.transport.connections import get_http_session
from tools.transport.errors import FileChangedError
from tools.transport.reading import SHORT_FILE_BYTES, open_content, open_source
from tools.transport.upload import COPIED_BYTES, FileBody, post_file
from tools.transport.writing import ConnectionWriter

MakeFile = Callable[[str, bytes], Path]
LONG = os.urandom(3 * MEGABYTE + 17)


async def _send(body: FileBody, address: str) -> int:
    session = await get_http_session()
    async with session.post(address, data=body) as response:
        await response.read()
        return response.status


@pytest.mark.parametrize("loop", NEW_LOOPS)
@pytest.mark.parametrize("size", [0, 5, SHORT_FILE_BYTES, SHORT_FILE_BYTES + 1, COPIED_BYTES + 1, len(LONG)])
def test_every_way_of_sending_delivers_the_same_bytes(
    make_file: MakeFile, tls: ssl.SSLContext | None, loop: str, size: int
) -> None:
    """Held, copied, encrypted or moved by the kernel: preamble, file and epilogue arrive with their exact length."""
    path = make_file("a.bin", LONG[:size])

    async def scenario() -> None:
        async with scripted(tls=tls) as (server, address):
            for _ in range(2):  # the second one on the connection of the first
                body = FileBody(
                    await open_content(path), content_type="text/x", preamble=b"<", epilogue=b">", write_timeout=5
                )
                assert await _send(body, address) == 200
                assert body.sent == body.size == size + 2
            assert [request.body == b"<" + LONG[:size] + b">" for request in server.posts] == [True, True]
            assert {request.headers["content-type"] for request in server.posts} == {"text/x"}
            assert server.connections == 1

    with asyncio.Runner(loop_factory=NEW_LOOPS[loop]) as runner:
        runner.run(scenario())


@pytest.mark.parametrize("loop", NEW_LOOPS)
def test_many_at_once_do_not_mix_their_buffers(make_file: MakeFile, tls: ssl.SSLContext | None, loop: str) -> None:
    """Uploads side by side share buffers one after the other; each file arrives as it is."""
    contents = [os.urandom(MEGABYTE + number * 4099) for number in range(24)]
    paths = [make_file(f"{number}.bin", content) for number, content in enumerate(contents)]

    async def scenario() -> list[bytes]:
        async with scripted(tls=tls) as (server, address):
            bodies = [FileBody(await open_content(path), content_type="x/y", write_timeout=20) for path in paths]
            await asyncio.gather(*(_send(body, address) for body in bodies))
            return [request.body for request in server.posts]

    with asyncio.Runner(loop_factory=NEW_LOOPS[loop]) as runner:
        assert sorted(runner.run(scenario())) == sorted(contents)


@pytest.mark.parametrize("loop", NEW_LOOPS)
def test_memory_is_used_again_only_when_it_has_left_the_process(
    make_file: MakeFile, tls: ssl.SSLContext | None, loop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection may refer to what it was given until its buffer is empty; a slow server keeps it full for long."""
    content = os.urandom(8 * MEGABYTE)
    path = make_file("a.bin", content)
    monkeypatch.setattr(ConnectionWriter, "takes_files", False)
    left_behind: list[int] = []
    write_view = ConnectionWriter.write_view

    async def checked(self: ConnectionWriter, view: memoryview) -> None:
        await write_view(self, view)
        left_behind.append(self._transport.get_write_buffer_size())
        assert max(self._transport.get_write_buffer_limits()) <= 1  # bytes that may stay behind

    monkeypatch.setattr(ConnectionWriter, "write_view", checked)
    received = bytearray()

    async def sip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left = await request_head(reader)
        while left:
            await asyncio.sleep(0.01)
            received.extend(piece := await reader.read(256 * 1024))
            left -= len(piece)
        await answered(writer)

    async def scenario() -> None:
        async with listening(sip, tls=tls) as address:
            await _send(FileBody(await open_content(path), content_type="x/y", write_timeout=20), address)

    with asyncio.Runner(loop_factory=NEW_LOOPS[loop]) as runner:
        runner.run(scenario())
    assert received == content
    assert set(left_behind) == {0}


@given(data=st.data())
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_range_is_sent_as_it_stands_in_the_file(tmp_path: Path, data: st.DataObject) -> None:
    """A piece of a resumable upload is exactly the bytes asked for."""
    path = tmp_path / "ranged.bin"
    if not path.exists():
        path.write_bytes(LONG)
    start = data.draw(st.integers(0, len(LONG)))
    length = data.draw(st.integers(0, len(LONG) - start))

    async def scenario() -> bytes:
        async with scripted() as (server, address):
            body = FileBody(
                await open_content(path),
                content_type="x/y",
                start=start,
                length=length,
                write_timeout=5,
                chunk_bytes=70_000,
            )
            await _send(body, address)
            return server.posts[0].body

    assert asyncio.run(scenario()) == LONG[start : start + length]


@pytest.mark.parametrize(("start", "length"), [(-1, 1), (0, 6), (6, None), (5, 1), (2, -1)])
async def test_a_range_outside_of_the_file_is_refused(make_file: MakeFile, start: int, length: int | None) -> None:
    """Nothing is cut to fit silently."""
    content = await open_content(make_file("a.txt", b"hello"))
    with pytest.raises(ValueError, match=r"a\.txt: no -?\d+ bytes from"):
        FileBody(content, content_type="x/y", start=start, length=length, write_timeout=5)


@pytest.mark.parametrize("change", ["shrunk", "rewritten"])
async def test_a_file_that_changes_while_the_kernel_sends_it_does_not_end(
    make_file: MakeFile, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was looked at must be what is sent: the server never gets a whole body of a file that changed."""
    path = make_file("a.bin", LONG)
    content = await open_source(path)
    received = bytearray()

    async def receive(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await request_head(reader)
        while piece := await reader.read(MEGABYTE):
            received.extend(piece)

    send_file = ConnectionWriter.send_file

    async def change_afterwards(self: ConnectionWriter, descriptor: int, start: int, length: int) -> int:
        moved = await send_file(self, descriptor, start, length)
        if change == "shrunk":
            os.truncate(path, len(LONG) - 1)
        else:
            path.write_bytes(b"x" + LONG[1:])
        return moved

    monkeypatch.setattr(ConnectionWriter, "send_file", change_afterwards)
    async with listening(receive) as address, asyncio.timeout(10):
        with pytest.raises(FileChangedError, match=r"a\.bin was changed"):
            await post_file(address, content, purpose="p", headers={})
    assert len(received) < len(LONG)


async def test_another_file_under_the_same_path_is_not_sent_instead(make_file: MakeFile) -> None:
    """A file that was replaced after it was looked at never arrives whole."""
    path = make_file("a.bin", LONG)
    content = await open_source(path)
    make_file("b.bin", b"x" + LONG[1:]).replace(path)
    async with scripted() as (server, address):
        with pytest.raises(FileChangedError):
            await post_file(address, content, purpose="p", headers={})
        assert server.requests == []


async def test_a_file_that_shrinks_before_the_kernel_sends_it_is_noticed(make_file: MakeFile) -> None:
    """A kernel that finds no more bytes does not leave the server waiting for them."""
    path = make_file("a.bin", LONG)
    content = await open_content(path)
    os.truncate(path, MEGABYTE)
    async with scripted() as (server, address):
        with pytest.raises(FileChangedError):
            await post_file(address, content, purpose="p", headers={})
        assert server.requests == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux moves files into sockets as it is done here")
@pytest.mark.parametrize("loop", NEW_LOOPS)
def test_the_kernel_moves_files_wherever_nothing_is_encrypted(
    make_file: MakeFile, tls: ssl.SSLContext | None, loop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the clear nearly all of a long file goes by `sendfile`, encrypted none of it."""
    moved: list[int] = []
    sendfile = os.sendfile

    def counted(out: int, source: int, offset: int, count: int) -> int:
        moved.append(sendfile(out, source, offset, count))
        return moved[-1]

    monkeypatch.setattr(os, "sendfile", counted)
    path = make_file("a.bin", LONG)

    async def scenario() -> None:
        async with scripted(tls=tls) as (_server, address):
            await upload_file_streaming_async(path, address)

    with asyncio.Runner(loop_factory=NEW_LOOPS[loop]) as runner:
        runner.run(scenario())
    assert sum(moved) == (len(LONG) - COPIED_BYTES if tls is None else 0)


async def test_where_the_kernel_cannot_the_file_is_copied(make_file: MakeFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without `sendfile` is none that cannot be uploaded from."""

    def impossible(*_arguments: int) -> int:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "sendfile", impossible)
    async with scripted() as (server, address):
        body = FileBody(await open_content(make_file("a.bin", LONG)), content_type="x/y", write_timeout=5)
        await _send(body, address)
        assert server.posts[0].body == LONG


async def test_an_answer_that_comes_early_is_heard(make_file: MakeFile) -> None:
    """A server that refuses in the middle and takes nothing more is not waited for."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_head(reader)
        await answered(writer, status=413)
        await asyncio.sleep(60)

    content = await open_content(make_file("a.bin", os.urandom(12 * MEGABYTE)))
    async with listening(refuse) as address, asyncio.timeout(10):
        answer = await post_file(address, content, purpose="p", headers={})
    assert answer.status == 413


def _open_descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


@pytest.mark.parametrize("loop", NEW_LOOPS)
def test_a_cancelled_upload_leaves_nothing_behind(make_file: MakeFile, tls: ssl.SSLContext | None, loop: str) -> None:
    """Cancelling cuts the connection and closes the file, at once."""
    descriptors = _open_descriptors()
    path = make_file("a.bin", os.urandom(12 * MEGABYTE))

    async def hang(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await request_head(reader)
        await asyncio.sleep(60)

    async def scenario() -> None:
        async with listening(hang, tls=tls) as address, asyncio.timeout(10):
            task = asyncio.create_task(upload_file_streaming_async(path, address))
            await asyncio.sleep(0.3)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    with asyncio.Runner(loop_factory=NEW_LOOPS[loop]) as runner:
        runner.run(scenario())
    assert _open_descriptors() <= descriptors


async def test_nothing_is_written_into_a_closed_connection(make_file: MakeFile) -> None:
    """A body without a connection fails as a broken connection does."""

    class Gone:
        transport = None

    body = FileBody(await open_content(make_file("a.txt", b"text")), content_type="x/y", write_timeout=5)
    with pytest.raises(aiohttp.ClientConnectionError):
        await body.write(Gone())  # type: ignore[arg-type]  # all that is asked of it
    await body.give_up()
