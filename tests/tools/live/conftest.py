from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from migration import ShadowLimits
from shim.http.httpx_tap import install_httpx_tap, remove_httpx_tap
from tests.tools.live.bench import Bench
from tests.tools.planted import planted_settings
from tools.sandbox import RunningSandbox
from tools.settings import use_settings
from tools.storage import get_storage
from tools.storage.port import ProviderName

MakeBench = Callable[..., Bench]


@pytest.fixture(autouse=True)
def tap() -> Iterator[None]:
    install_httpx_tap()
    yield
    remove_httpx_tap()


@pytest.fixture
def make_bench(sandbox: RunningSandbox, tmp_path: Path) -> Iterator[MakeBench]:
    """Makes benches; the last one's settings are in force."""
    made: list[Bench] = []
    opened: list[Any] = []

    def make(
        provider: ProviderName = "kimi", storage: str = "supabase", limits: ShadowLimits | None = None, **changes: Any
    ) -> Bench:
        settings = planted_settings(sandbox, tmp_path / "state", supabase=storage == "supabase", **changes)
        opened.append(use_settings(settings))
        opened[-1].__enter__()
        made.append(Bench(provider, get_storage(), sandbox, settings, tmp_path, limits=limits or ShadowLimits()))
        return made[-1]

    yield make
    for bench in made:
        bench.runtime.close()
    for settings in reversed(opened):
        settings.__exit__(None, None, None)


@pytest.fixture(params=["kimi", "glm"])
def provider(request: pytest.FixtureRequest) -> ProviderName:
    return "kimi" if request.param == "kimi" else "glm"


@pytest.fixture(params=["supabase", "embedded"])
def storage_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def bench(make_bench: MakeBench, provider: ProviderName, storage_kind: str) -> Bench:
    """Each provider with each storage."""
    return make_bench(provider, storage_kind)
