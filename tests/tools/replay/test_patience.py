"""A side that announces more than it sends does not hold up its rehearsal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

import aiohttp
import pytest

from tools.replay import patience
from tools.replay.answers import AnswerBook
from tools.replay.recorder import Recorder


@pytest.fixture
async def recorder(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Recorder]:
    monkeypatch.setattr(patience, "STALL_SECONDS", 0.4)
    recorder = Recorder(AnswerBook([]), {})
    async with recorder.serving():
        yield recorder


async def post(recorder: Recorder, path: str, pieces: Iterator[bytes], *, pause: float) -> bytes:
    """Announce ten bytes, send pieces with a pause before each, and read the answer's first line."""
    address = urlsplit(recorder.address)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: a/b\r\nContent-Length: 10\r\n\r\n".encode())
    for piece in pieces:
        await asyncio.sleep(pause)
        writer.write(piece)
    answer = await reader.readline()
    writer.close()
    await writer.wait_closed()
    return answer


@pytest.mark.parametrize("path", ["/kimi/files", "/supabase/storage/v1/object/b/a.txt"])
async def test_a_body_that_is_shorter_than_announced_is_refused(path: str, recorder: Recorder) -> None:
    """Not repeated by anybody, as a time-out would be; what was noted says that it never was complete."""
    assert b" 400 " in await post(recorder, path, iter([b"123456789"]), pause=0)
    [seen] = recorder.seen
    assert seen.get("complete") is False or seen["outcome"] == "never complete"


async def test_a_slow_body_is_waited_for(recorder: Recorder) -> None:
    """However long it takes, as long as something arrives."""
    assert b" 501 " in await post(recorder, "/kimi/files", (b"x" for _ in range(10)), pause=0.15)
    assert recorder.seen[0]["complete"] is True


async def test_a_request_without_a_body_waits_for_nothing(recorder: Recorder) -> None:
    """Looking at an object needs no patience."""
    async with aiohttp.ClientSession() as client, client.get(f"{recorder.address}/kimi/other") as answer:
        assert answer.status == 501
