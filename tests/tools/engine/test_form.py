"""The form on the wire, against what the vendors' own SDKs put there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai import OpenAI
from zai import ZaiClient

from tests.tools.engine.support import KEY, Received, WireServer
from tools.async_file_upload_refactored import cleanup_http_session, upload_file_streaming_async
from tools.providers.spec import GLM, KIMI, Provider
from tools.settings import MEGABYTE, Settings
from tools.transport.reading import SHORT_FILE_BYTES, open_content
from tools.transport.upload import post_file

MakeFile = Callable[[str, bytes], Path]

HOSTILE_NAMES = [
    "plain.txt",
    "no extension",
    "Grüße 你好 🙂.md",
    'say "hi".pdf',
    "back\\slash.csv",
    "new\nline\rand\ttab.txt",
    "escape\x1bdelete\x7f.txt",
    "100%25 %22.txt",
    "semi;colon=equals,.json",
    "archive.tar.gz",
    "http:what.html",
    " leading and trailing .py ",
    "data:text;charset=x,y",
    "a" * 240 + ".txt",
]


def _openai(wire: WireServer, path: Path, purpose: str) -> None:
    with OpenAI(api_key=KEY, base_url=wire.url, max_retries=0) as client:
        client.files.create(file=path, purpose=purpose)  # type: ignore[arg-type]  # Kimi has its own purposes


def _zai(wire: WireServer, path: Path, purpose: str) -> None:
    with ZaiClient(api_key=KEY, base_url=wire.url, max_retries=0) as client:
        client.files.create(file=path, purpose=purpose)


SDKS = [pytest.param(_openai, KIMI, id="openai"), pytest.param(_zai, GLM, id="zai")]


def _without_boundary(request: Received) -> bytes:
    kind, _, boundary = request.headers["content-type"].partition("; boundary=")
    assert kind == "multipart/form-data"
    assert len(boundary) == 32
    return request.body.replace(boundary.encode(), b"BOUNDARY")


@pytest.mark.parametrize("purpose", ["file-extract", "zweck ü"])
@pytest.mark.parametrize(("sdk", "provider"), SDKS)
async def test_the_body_is_what_the_sdk_sends(
    *,
    wire: WireServer,
    wire_settings: Settings,
    make_file: MakeFile,
    sdk: Callable[[WireServer, Path, str], None],
    provider: Provider,
    purpose: str,
) -> None:
    """For every name the body equals the vendor SDK's, the boundary apart, and so does its length."""
    for name in HOSTILE_NAMES:
        path = make_file(name, b"content \x00\xff\r\n--")
        await asyncio.to_thread(sdk, wire, path, purpose)
        await post_file(
            provider.files_address(wire_settings),
            await open_content(path),
            purpose=purpose,
            headers=provider.headers(wire_settings),
        )
        theirs, ours = wire.requests[-2:]
        assert _without_boundary(ours) == _without_boundary(theirs), name
        assert ours.headers["content-length"] == theirs.headers["content-length"]
        assert ours.line == theirs.line
        assert ours.headers["authorization"] == theirs.headers["authorization"]
        assert ours.headers.get("accept-language") == theirs.headers.get("accept-language")


@pytest.mark.parametrize("size", [0, 1, SHORT_FILE_BYTES, SHORT_FILE_BYTES + 1, 3 * MEGABYTE + 1])
async def test_the_length_is_known_and_exact(wire: WireServer, make_file: MakeFile, size: int) -> None:
    """A form is never sent chunked, and holds the file's bytes between its two ends."""
    content = bytes(range(256)) * (size // 256 + 1)
    path = make_file("a.bin", content[:size])
    result = await upload_file_streaming_async(path, f"{wire.url}/anywhere", purpose="p")
    [request] = wire.requests
    assert result == {"status": "success", "status_code": 200, "response": {"id": "file-1"}, "file_size": size}
    assert "transfer-encoding" not in request.headers
    assert "expect" not in request.headers
    assert int(request.headers["content-length"]) == len(request.body)
    head, _, rest = request.body.partition(b"\r\n\r\np\r\n")
    assert head.endswith(b'name="purpose"')
    assert rest.partition(b"\r\n\r\n")[2].rpartition(b"\r\n--")[0] == content[:size]


async def test_a_name_that_is_no_text_fails_as_the_sdk_fails(
    wire: WireServer, wire_settings: Settings, tmp_path: Path
) -> None:
    """Bytes that are no UTF-8 in a file's name end in the same error with the same words."""
    path = tmp_path / b"odd-\xff.txt".decode(errors="surrogateescape")
    path.write_bytes(b"content")
    with pytest.raises(UnicodeEncodeError) as theirs:
        await asyncio.to_thread(_openai, wire, path, "file-extract")
    with pytest.raises(UnicodeEncodeError) as ours:
        await post_file(KIMI.files_address(wire_settings), await open_content(path), purpose="file-extract", headers={})
    assert str(ours.value) == str(theirs.value)
    assert wire.requests == []


_NEAR_CHUNK_BORDERS = st.builds(
    lambda border, offset: max(0, border + offset),
    st.sampled_from([0, 4096, 8192, SHORT_FILE_BYTES, SHORT_FILE_BYTES + 4096]),
    st.integers(-2, 2),
)
# the server refuses the two control characters that the SDKs, and so we, send as they are, and takes a name of nothing
# but backslashes for none
_NAMES = st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="/\0\x1b\x7f"), min_size=1, max_size=60
).filter(lambda name: name.strip("\\") not in {"", ".", ".."} and len(name.encode()) < 250)


@given(name=_NAMES, size=_NEAR_CHUNK_BORDERS, chunk=st.sampled_from([4096, 5000, MEGABYTE]))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_name_and_size_arrives_whole(tmp_path: Path, name: str, size: int, chunk: int) -> None:
    """A server that parses forms gets purpose and file, in this order, with the file's bytes."""
    content = (b"0123456789abcdef" * (size // 16 + 1))[:size]

    async def receive(request: web.Request) -> web.Response:
        form = await request.post()
        assert list(form) == ["purpose", "file"]
        file = form["file"]
        assert isinstance(file, web.FileField)
        return web.json_response({"purpose": form["purpose"], "same": file.file.read() == content})

    async def scenario() -> dict[str, object]:
        application = web.Application(client_max_size=MEGABYTE)
        application.router.add_post("/files", receive)
        async with TestServer(application) as server:
            path = tmp_path / name
            path.write_bytes(content)
            try:
                return await upload_file_streaming_async(path, str(server.make_url("/files")), chunk_size=chunk)
            finally:
                path.unlink()
                await cleanup_http_session()

    result = asyncio.run(scenario())
    assert result["response"] == {"purpose": "file-extract", "same": True}
    assert result["file_size"] == size
