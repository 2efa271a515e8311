"""What the engine's tests share."""

from __future__ import annotations

import asyncio
import ssl
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import trustme
from pydantic import SecretStr

from tests.tools.engine.serving import server_context
from tests.tools.engine.support import KEY, Waits, WireServer
from tools.engine import listing as claims
from tools.engine import throttle
from tools.sandbox import RunningSandbox
from tools.settings import Settings, use_settings
from tools.storage.local import LocalStorage
from tools.transport import connections as pool
from tools.transport.connections import cleanup_http_session


@pytest.fixture
async def wire() -> AsyncIterator[WireServer]:
    """A scripted server."""
    server = WireServer()
    connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        try:
            await server.serve(reader, writer)
        finally:
            connections.discard(task)

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    server.stop_listening = listener.close
    yield server
    await cleanup_http_session()
    listener.close()
    if server.hold is not None:
        server.hold.set()
    if connections:
        await asyncio.wait(connections)  # they end because their clients have gone


@pytest.fixture(autouse=True)
def _no_claims(monkeypatch: pytest.MonkeyPatch) -> None:
    """No file of an earlier test counts as taken."""
    monkeypatch.setattr(claims, "_taken", OrderedDict())


@pytest.fixture(autouse=True)
def _no_throttles() -> None:
    """Nothing that an earlier test met is known of a provider."""
    throttle.forget_throttles()


@pytest.fixture
async def pooled() -> AsyncIterator[None]:
    """Closes the loop's session after the test."""
    yield
    await cleanup_http_session()


@pytest.fixture
def wire_settings(wire: WireServer, tmp_path: Path) -> Iterator[Settings]:
    """Settings that lead to the scripted server."""
    settings = Settings(
        kimi_api_key=SecretStr(KEY),
        kimi_api_url=wire.url,
        glm_api_key=SecretStr(KEY),
        glm_api_url=wire.url,
        shim_home=tmp_path / "home",
        upload_connect_timeout=2,
        upload_timeout=20,
    )
    with use_settings(settings):
        yield settings


@pytest.fixture
def sandbox_settings(sandbox: RunningSandbox, tmp_path: Path, pooled: None) -> Iterator[Settings]:  # noqa: ARG001  # order
    """Settings that lead to the sandbox, whose copies are kept in a local folder."""
    settings = Settings(
        kimi_api_key=SecretStr(sandbox.key),
        kimi_api_url=sandbox.urls["kimi"],
        glm_api_key=SecretStr(sandbox.key),
        glm_api_url=sandbox.urls["glm"],
        shim_home=tmp_path / "home",
        upload_timeout=20,
    )
    with use_settings(settings):
        yield settings


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    """An empty storage."""
    return LocalStorage(tmp_path / "storage")


@pytest.fixture
def waits() -> Waits:
    """A clock without waiting."""
    return Waits()


@pytest.fixture
def make_file(tmp_path: Path) -> Callable[[str, bytes], Path]:
    """Makes a file of this name and content."""
    folder = tmp_path / "files"
    folder.mkdir()

    def make(name: str, content: bytes) -> Path:
        path = folder / name
        path.write_bytes(content)
        return path

    return make


@pytest.fixture(params=[pytest.param(False, id="plain"), pytest.param(True, id="tls")])
def tls(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ssl.SSLContext | None]:
    """A server's context that clients trust, or none."""
    if not request.param:
        yield None
        return
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    pool.tls_context.cache_clear()
    yield server_context(authority)
    pool.tls_context.cache_clear()
