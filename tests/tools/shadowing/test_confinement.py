"""A rehearsal reaches its recorder and no other server, whatever redirects were noted and proxies are configured."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
import httpx
import httpx2
import pytest

from migration import Comparison, Runtime, Side
from migration.model import Verdict
from migration.routing import Shim
from migration.testing import FixedRouter, RecordingObserver
from shim.http.egress import confined_to
from shim.http.httpx_tap import install_httpx_tap, remove_httpx_tap
from tools.async_file_upload_refactored import cleanup_http_session, get_http_session
from tools.migrations import MIGRATIONS
from tools.providers.kimi.kimi_files import KimiUploadFilesTool, upload_via_supabase_gateway_kimi
from tools.sandbox import RunningSandbox
from tools.settings import Settings, use_settings
from tools.storage import get_storage

KIMI = "tools.providers.kimi.kimi_files"
UPLOAD = MIGRATIONS[f"{KIMI}:upload_via_supabase_gateway_kimi"]
SECONDS = 60.0


class Elsewhere(ThreadingHTTPServer):
    """A provider that has moved and says so, and a proxy that answers nothing of use; `asked` holds every request."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Elsewhere
    answers: ClassVar[dict[str, Any]] = {"id": "file-1", "filename": "a.txt"}

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append(self.path)
        moved = self.path == "/moved/files"
        body = json.dumps(self.answers if moved else {}).encode()
        self.send_response(200 if moved else 308)
        self.send_header("Location", f"{self.server.url}/moved/files")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
        """Say nothing."""


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    with Elsewhere() as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield server
        server.shutdown()
        serving.join()


@pytest.fixture(autouse=True)
def tap() -> Iterator[None]:
    install_httpx_tap()
    yield
    remove_httpx_tap()


@pytest.fixture
def observer() -> RecordingObserver:
    return RecordingObserver()


@pytest.fixture
def router() -> FixedRouter:
    return FixedRouter(shadow=True)


@pytest.fixture
def runtime(router: FixedRouter, observer: RecordingObserver) -> Iterator[Runtime]:
    runtime = Runtime(router=router, observers=[observer])
    for loop in (runtime.loop, runtime.shadows.loop):
        loop.on_close(cleanup_http_session)
    yield runtime
    runtime.close()


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "a.txt"
    path.write_bytes(b"confidential")
    return path


def _verdict(runtime: Runtime, observer: RecordingObserver) -> Comparison:
    assert runtime.shadows.drain(SECONDS)
    [comparison] = observer.comparisons
    return comparison


def test_a_noted_redirect_is_not_followed_to_where_it_leads(
    elsewhere: Elsewhere, runtime: Runtime, observer: RecordingObserver, document: Path, tmp_path: Path
) -> None:
    """The SDK follows redirects; its rehearsal must not carry the file to the real place once more."""
    upload: Any = Shim(UPLOAD, upload_via_supabase_gateway_kimi, runtime)
    with use_settings(Settings(kimi_api_url=f"{elsewhere.url}/v1", kimi_api_key="key", shim_home=tmp_path / "state")):
        upload(document, get_storage())
    assert _verdict(runtime, observer).verdict is Verdict.DROPPED
    assert elsewhere.asked == ["/v1/files", "/moved/files"]


@pytest.mark.parametrize("serve", Side)
@pytest.mark.parametrize("supabase", [False, True], ids=["embedded", "supabase"])
def test_a_proxy_of_the_environment_sees_nothing_of_a_rehearsal(
    *,
    serve: Side,
    supabase: bool,
    elsewhere: Elsewhere,
    router: FixedRouter,
    runtime: Runtime,
    observer: RecordingObserver,
    document: Path,
    sandbox: RunningSandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither the vendors' clients nor the pool sends what is meant for the recorder to a proxy."""
    storage = {"supabase_url": sandbox.supabase_url, "supabase_service_role_key": "sb_secret_key"} if supabase else {}
    settings = Settings.model_validate(
        {"kimi_api_url": sandbox.urls["kimi"], "kimi_api_key": "key", "shim_home": tmp_path / "state", **storage}
    )

    def answered(result: Any) -> Any:
        for variable in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(variable, elsewhere.url)
        for variable in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(variable, raising=False)
        return result

    # the sandbox, unlike a provider, is itself asked over http: so the proxy appears when the primary has its answer
    upload: Any = Shim(dataclasses.replace(UPLOAD, facts=answered), upload_via_supabase_gateway_kimi, runtime)
    router.serve = serve
    with use_settings(settings):
        upload(document, get_storage())
    assert _verdict(runtime, observer).verdict is Verdict.IDENTICAL
    assert elsewhere.asked == []


async def test_a_confined_client_reaches_one_origin(elsewhere: Elsewhere, sandbox: RunningSandbox) -> None:
    """All clients of both implementations refuse any other address before anything is sent."""
    session = await get_http_session()
    other = f"{elsewhere.url}/secret"
    try:
        with confined_to(sandbox.urls["kimi"].removesuffix("/v1")):
            for blocking in (httpx, httpx2):
                with pytest.raises(blocking.ConnectError):
                    blocking.get(other)
            async with httpx.AsyncClient(headers={"Authorization": "Bearer key"}) as client:
                with pytest.raises(httpx.ConnectError):
                    await client.get(other)
                assert (await client.get(f"{sandbox.urls['kimi']}/files")).is_success
            with pytest.raises(aiohttp.ClientConnectionError):
                await session.get(other)
    finally:
        await cleanup_http_session()
    assert elsewhere.asked == []


def test_files_that_can_be_gone_through_once_are_left_to_the_call(
    runtime: Runtime, observer: RecordingObserver, document: Path, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    """A sampled call that is given an iterator uploads its files; it is only not compared."""
    run: Any = Shim(MIGRATIONS[f"{KIMI}:KimiUploadFilesTool._run"], KimiUploadFilesTool._run, runtime)
    with use_settings(Settings(kimi_api_url=sandbox.urls["kimi"], kimi_api_key="key", shim_home=tmp_path / "state")):
        [entry] = run(KimiUploadFilesTool(get_storage()), iter([document]))
    assert entry["filename"] == "a.txt"
    assert _verdict(runtime, observer).verdict is Verdict.DROPPED
