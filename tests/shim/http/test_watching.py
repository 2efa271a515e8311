"""Who watches the wire must not be able to hurt who uses it."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from shim.http.httpx_tap import install_httpx_tap, remove_httpx_tap
from shim.http.recording import RequestObservation, watch
from tools.async_file_upload_refactored import cleanup_http_session, upload_via_supabase_gateway_kimi_async
from tools.providers.kimi.kimi_files import upload_via_supabase_gateway_kimi
from tools.sandbox import RunningSandbox
from tools.settings import Settings, use_settings
from tools.storage import get_storage


class Vicious:
    """Fails at everything, or lets a request begin and fails when it ends."""

    def __init__(self, *, late: bool) -> None:
        self._late = late

    def request_started(self, *, method: str, url: str) -> RequestObservation:
        if not self._late:
            raise ValueError(f"{method} {url}")
        return self

    def finished(self, *, status: int | None, error: BaseException | None) -> None:
        raise ValueError(f"{status} {error}")

    def pool_limit(self, *, connections: int) -> None:
        raise ValueError(connections)

    def pool_waited(self, *, seconds: float) -> None:
        raise ValueError(seconds)

    def pool_in_use(self, *, change: int) -> None:
        raise ValueError(change)


class Listening(Vicious):
    """Remembers the addresses."""

    def __init__(self) -> None:
        super().__init__(late=False)
        self.urls: list[str] = []

    def request_started(self, *, method: str, url: str) -> RequestObservation:
        self.urls.append(url)
        return super().request_started(method=method, url=url)


async def _legacy(path: Path, storage: Any) -> dict[str, Any]:
    return upload_via_supabase_gateway_kimi(path, storage)


async def _new(path: Path, storage: Any) -> dict[str, Any]:
    try:
        return await upload_via_supabase_gateway_kimi_async(path, storage)
    finally:
        await cleanup_http_session()


BOTH = pytest.mark.parametrize("upload", [_legacy, _new], ids=["legacy", "new"])
Upload = Callable[[Path, Any], Awaitable[dict[str, Any]]]


@pytest.fixture(autouse=True)
def tap() -> Iterator[None]:
    install_httpx_tap()
    yield
    watch(None)
    remove_httpx_tap()


@pytest.fixture
def supabase(sandbox: RunningSandbox, tmp_path: Path) -> Settings:
    return Settings(
        kimi_api_url=sandbox.urls["kimi"],
        kimi_api_key="key",
        supabase_url=sandbox.supabase_url,
        supabase_service_role_key="sb_secret_key",
        shim_home=tmp_path / "state",
    )


@BOTH
@pytest.mark.parametrize("late", [False, True], ids=["at once", "late"])
async def test_a_failing_observer_hurts_no_upload(
    *, upload: Upload, late: bool, supabase: Settings, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    """Whatever it raises, and whenever: the file, its copy and its row are made once."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"some text")
    watch(Vicious(late=late))
    with use_settings(supabase):
        result = await upload(path, get_storage())
    state = sandbox.state()
    assert [file["id"] for file in state["kimi"]["files"]] == [result["kimi_file_id"]]
    assert len(state["supabase"]["objects"]) == len(state["supabase"]["provider_file_uploads"]) == 1


@BOTH
async def test_no_credentials_are_shown_to_an_observer(*, upload: Upload, supabase: Settings, tmp_path: Path) -> None:
    """A name and a password in an address are left out."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"some text")
    observer = Listening()
    watch(observer)
    address = supabase.kimi_api_url.replace("http://", "http://user:password@")
    with (
        use_settings(supabase.model_copy(update={"kimi_api_url": address})),
        contextlib.suppress(RuntimeError),  # whether it can be done with such an address is not asked here
    ):
        await upload(path, get_storage())
    assert observer.urls
    assert not any("password" in url for url in observer.urls)


def test_a_tap_is_installed_once_and_removed_whole() -> None:
    """Two installations are one, and after the removal the transports are what they were."""
    tapped = httpx.HTTPTransport.handle_request
    install_httpx_tap()
    assert httpx.HTTPTransport.handle_request is tapped
    remove_httpx_tap()
    remove_httpx_tap()
    assert httpx.HTTPTransport.handle_request is tapped.__wrapped__  # type: ignore[attr-defined]
