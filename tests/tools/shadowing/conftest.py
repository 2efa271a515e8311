from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shim.http.httpx_tap import install_httpx_tap, remove_httpx_tap
from tests.tools.planted import planted_settings
from tests.tools.shadowing.bench import Bench, World
from tools.sandbox import RunningSandbox
from tools.settings import use_settings
from tools.storage import get_storage
from tools.storage.port import UploadStorage


@pytest.fixture(autouse=True)
def tap() -> Iterator[None]:
    install_httpx_tap()
    yield
    remove_httpx_tap()


@pytest.fixture(params=["embedded", "supabase"])
def storage(request: pytest.FixtureRequest, sandbox: RunningSandbox, tmp_path: Path) -> Iterator[UploadStorage]:
    settings = planted_settings(sandbox, tmp_path / "state", supabase=request.param == "supabase")
    with use_settings(settings):
        yield get_storage()


@pytest.fixture
def world(storage: UploadStorage, sandbox: RunningSandbox, tmp_path: Path) -> World:
    return World(storage, sandbox, tmp_path)


@pytest.fixture
def bench() -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(*args: Any) -> Bench:
        made.append(Bench(*args))
        return made[-1]

    yield make
    for one in made:
        one.runtime.close()
