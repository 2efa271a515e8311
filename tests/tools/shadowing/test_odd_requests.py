"""What a recorder makes of requests that are out of the ordinary."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

import aiohttp
import pytest
from yarl import URL

from shim.http import recorder as answers
from shim.http.recorder import AnswerBook, LoopbackRecorder
from tools.shadowing.replay import upload_recorder


@pytest.fixture
async def recorder(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LoopbackRecorder]:
    monkeypatch.setattr(answers, "STALL_SECONDS", 1.5)
    recorder = upload_recorder(AnswerBook([]), {})
    async with recorder.serving():
        yield recorder


async def post(recorder: LoopbackRecorder, path: str, pieces: Iterator[bytes], *, pause: float) -> bytes:
    """Announce ten bytes, send pieces with a pause before each, and read the answer's first line."""
    address = urlsplit(recorder.address)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(
        f"POST {address.path}{path} HTTP/1.1\r\nHost: a\r\nContent-Type: a/b\r\nContent-Length: 10\r\n\r\n".encode()
    )
    for piece in pieces:
        await asyncio.sleep(pause)
        writer.write(piece)
    answer = await reader.readline()
    writer.close()
    await writer.wait_closed()
    return answer


@pytest.mark.parametrize("path", ["/kimi/files", "/supabase/storage/v1/object/b/a.txt"])
async def test_a_body_that_is_shorter_than_announced_is_refused(path: str, recorder: LoopbackRecorder) -> None:
    """Not repeated by anybody, as a time-out would be; what was noted says that it never was complete."""
    assert b" 400 " in await post(recorder, path, iter([b"123456789"]), pause=0)
    [seen] = recorder.seen
    assert seen.get("complete") is False or seen["outcome"] == "never complete"


async def test_a_slow_body_is_waited_for(recorder: LoopbackRecorder) -> None:
    """However long it takes, as long as something arrives."""
    assert b" 501 " in await post(recorder, "/kimi/files", (b"x" for _ in range(10)), pause=0.2)
    assert recorder.seen[0]["complete"] is True


async def test_a_stranger_is_not_noted(recorder: LoopbackRecorder) -> None:
    """Who was looking for another program that had this port before is no part of the rehearsal."""
    async with aiohttp.ClientSession() as client:
        for path in ("/", "/client/features", "/kimi/files"):
            async with client.post(str(URL(recorder.address).origin()) + path, data=b"x") as answer:
                assert answer.status == 404
    assert recorder.seen == []


async def test_a_request_without_a_body_waits_for_nothing(recorder: LoopbackRecorder) -> None:
    """Looking at an object needs no patience."""
    async with aiohttp.ClientSession() as client, client.get(f"{recorder.address}/kimi/other") as answer:
        assert answer.status == 501


def form(name: str, content: bytes) -> tuple[bytes, dict[str, str]]:
    part = f'--b\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
    return part + content + b"\r\n--b--\r\n", {"Content-Type": "multipart/form-data; boundary=b"}


@pytest.mark.filterwarnings("ignore::aiohttp.BadContentDispositionHeader")
@pytest.mark.parametrize("path", ["/kimi/files", "/supabase/storage/v1/object/b/a.txt"])
@pytest.mark.parametrize("name", ["?\\\\;{a%0D&0:;.png", ">;=.txt", "filename=;.", "%22.txt", "plain.txt"])
async def test_a_files_content_is_never_taken_for_a_value(name: str, path: str, recorder: LoopbackRecorder) -> None:
    """Under whatever name it comes, of a file nothing but length and digest is noted."""
    body, headers = form(name, b"the secret content")
    async with aiohttp.ClientSession() as client, client.post(recorder.address + path, data=body, headers=headers):
        pass
    [seen] = recorder.seen
    assert "secret" not in repr(seen)
    assert "'length': 18" in repr(seen)


async def test_a_name_with_control_characters_is_for_the_real_server_to_judge(recorder: LoopbackRecorder) -> None:
    """The recorder cannot read such a form; it says so, and answers what the primary was answered."""
    body, headers = form("a\x1b.txt", b"content")
    async with (
        aiohttp.ClientSession() as client,
        client.post(f"{recorder.address}/kimi/files", data=body, headers=headers) as answer,
    ):
        assert answer.status == 501
    assert recorder.seen[0]["unreadable"] == f"a form of {len(body)} bytes"
