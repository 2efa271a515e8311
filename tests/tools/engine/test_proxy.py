"""Proxies that the environment names are obeyed, as the vendors' clients obey them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from yarl import URL

from tools.async_file_upload_refactored import cleanup_http_session, upload_file_streaming_async
from tools.transport.connections import proxy_for

VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
async def proxy() -> AsyncIterator[tuple[str, list[str]]]:
    """A proxy that answers by itself, and the addresses it was asked for."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        asked.append(str(request.url))
        return web.json_response({"id": "from-the-proxy"})

    application = web.Application()
    application.router.add_route("*", "/{anything:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}", asked
    await runner.cleanup()


async def test_an_upload_goes_through_the_proxy(
    proxy: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With HTTP_PROXY set, the proxy is asked for the provider's address, which need not even resolve here."""
    address, asked = proxy
    monkeypatch.setenv("http_proxy", address)
    path = tmp_path / "a.txt"
    path.write_text("text")
    result = await upload_file_streaming_async(str(path), "http://provider.invalid/v1/files")
    await cleanup_http_session()
    assert result["response"] == {"id": "from-the-proxy"}
    assert asked == ["http://provider.invalid/v1/files"]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"https_proxy": "http://proxy:3128"}, "http://proxy:3128"),
        ({"https_proxy": "proxy:3128"}, "http://proxy:3128"),
        ({"all_proxy": "http://proxy:3128"}, "http://proxy:3128"),
        ({"http_proxy": "http://proxy:3128"}, None),
        ({"https_proxy": "http://proxy:3128", "no_proxy": "moonshot.ai"}, None),
        ({"https_proxy": "http://proxy:3128", "no_proxy": "*"}, None),
        ({"https_proxy": "http://proxy:3128", "no_proxy": "elsewhere.example"}, "http://proxy:3128"),
    ],
)
def test_which_proxy(environment: dict[str, str], expected: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scheme, fallback and exceptions are those that every client knows."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert proxy_for(URL("https://api.moonshot.ai/v1")) == expected
