"""A server that takes nothing any more is noticed, and no other is taken for one."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tools.engine.serving import NEW_LOOPS, answered, listening, request_head
from tools.settings import MEGABYTE, Settings, use_settings
from tools.transport import connections as sockets
from tools.transport import upload as transport
from tools.transport.errors import RequestTimedOutError, WriteTimedOutError
from tools.transport.reading import RangeReader, open_content
from tools.transport.upload import post_file

MakeFile = Callable[[str, bytes], Path]
STALL = 0.5
SIZE = 24 * MEGABYTE


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "WRITE_TIMEOUT_SECONDS", STALL)


async def _hang(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await request_head(reader)
    await asyncio.sleep(60)


@pytest.mark.parametrize("loop", NEW_LOOPS)
def test_a_stalled_upload_says_how_far_it_got(make_file: MakeFile, tls: ssl.SSLContext | None, loop: str) -> None:
    """The error tells for how long nothing was taken, and how much had been sent by then."""
    path = make_file("a.bin", os.urandom(SIZE))

    async def scenario() -> WriteTimedOutError:
        async with listening(_hang, tls=tls) as address, asyncio.timeout(20):
            with pytest.raises(WriteTimedOutError) as stalled:
                await post_file(address, await open_content(path), purpose="p", headers={})
            return stalled.value

    with asyncio.Runner(loop_factory=NEW_LOOPS[loop]) as runner:
        error = runner.run(scenario())
    assert 0 < error.sent < SIZE < error.size
    assert str(error).startswith(f"no data was taken for 0.5 s; {error.sent / 1e6:.1f} of 25.2 MB had been sent")


async def test_a_slow_server_is_not_a_stalled_one(make_file: MakeFile, tls: ssl.SSLContext | None) -> None:
    """As long as something is taken now and then, an upload may take many times what a stall may."""
    content = await open_content(make_file("a.bin", os.urandom(SIZE)))

    async def sip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left = await request_head(reader)
        while left:
            left -= len(await reader.read(MEGABYTE))
            await asyncio.sleep(STALL / 10)
        await answered(writer)

    began = time.monotonic()
    async with listening(sip, tls=tls) as address, asyncio.timeout(60):
        answer = await post_file(address, content, purpose="p", headers={})
    assert answer.status == 200
    assert time.monotonic() - began > STALL


async def test_a_slow_answer_is_no_stall(make_file: MakeFile) -> None:
    """A provider that has everything may parse for longer than it may take nothing."""
    content = await open_content(make_file("a.bin", os.urandom(MEGABYTE)))

    async def ponder(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(await request_head(reader))
        await asyncio.sleep(STALL * 3)
        await answered(writer)

    async with listening(ponder) as address:
        assert (await post_file(address, content, purpose="p", headers={})).status == 200


async def test_a_slow_disk_is_no_stall_of_the_server(make_file: MakeFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Time that reading takes is not held against the connection."""
    content = await open_content(make_file("a.bin", os.urandom(MEGABYTE)))
    read_into = RangeReader.read_into

    def slowly(self: RangeReader, view: memoryview) -> int:
        time.sleep(STALL * 1.5)
        return read_into(self, view)

    monkeypatch.setattr(RangeReader, "read_into", slowly)

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(await request_head(reader))
        await answered(writer)

    async with listening(take) as address:
        assert (await post_file(address, content, purpose="p", headers={})).status == 200


async def test_the_total_time_says_how_far_it_got(make_file: MakeFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upload that is slow rather than stalled ends when its whole time has passed, and tells what is missing."""
    monkeypatch.setattr(transport, "WRITE_TIMEOUT_SECONDS", 30)
    content = await open_content(make_file("a.bin", os.urandom(SIZE)))
    async with listening(_hang) as address:
        with use_settings(Settings(upload_timeout=1)), pytest.raises(RequestTimedOutError) as late:
            await post_file(address, content, purpose="p", headers={})
    assert "no answer in time; " in str(late.value)
    assert "of 25.2 MB had been sent" in str(late.value)


@pytest.mark.parametrize(
    ("size", "upload_timeout", "expected"),
    [
        (0, 600, 310),
        (64 * 1024 * 100, 600, 410),
        (64 * 1024 * 1000, 600, 600),
        (64 * 1024 * 1000, 3600, 1310),
        (0, 5, 5),
    ],
)
def test_the_total_time_grows_with_the_size(size: int, upload_timeout: float, expected: float) -> None:
    """Time to connect, time to send at the slowest rate, time to answer; never more than is configured."""
    settings = Settings(upload_timeout=upload_timeout)
    assert transport._timeouts(settings, size=size).total == expected


@pytest.mark.usefixtures("pooled")
@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux can be told")
async def test_a_server_that_never_confirms_the_end_is_not_waited_for(
    make_file: MakeFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body that has left the process but not the machine: the kernel notices, long before the answer is overdue."""
    monkeypatch.setattr(sockets, "UNCONFIRMED_SECONDS", 1)
    content = await open_content(make_file("a.bin", os.urandom(2 * MEGABYTE)))
    held: list[socket.socket] = []
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        async with asyncio.timeout(30):
            upload = asyncio.create_task(
                post_file(f"http://127.0.0.1:{listener.getsockname()[1]}", content, purpose="p", headers={})
            )
            held.append((await asyncio.to_thread(listener.accept))[0])
            with pytest.raises(RequestTimedOutError):
                await upload
        held[0].close()
