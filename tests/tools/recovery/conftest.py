from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.tools.planted import planted_settings
from tests.tools.recovery.bench import Bench
from tools.engine import listing as claims
from tools.engine import throttle
from tools.journal.port import UploadSide
from tools.sandbox import RunningSandbox
from tools.settings import use_settings
from tools.storage.port import ProviderName

MakeBench = Callable[..., Bench]


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that an earlier test met is known."""
    monkeypatch.setattr(claims, "_taken", OrderedDict())
    throttle.forget_throttles()


@pytest.fixture
def make_bench(sandbox: RunningSandbox, tmp_path: Path) -> Iterator[MakeBench]:
    """Makes benches; the last one's settings are in force."""
    opened: list[Any] = []
    benches: list[Bench] = []

    def make(
        provider: ProviderName = "kimi",
        side: UploadSide = UploadSide.ASYNC,
        storage: str = "embedded",
        **changes: Any,
    ) -> Bench:
        settings = planted_settings(sandbox, tmp_path / "state", supabase=storage == "supabase", **changes)
        opened.append(use_settings(settings))
        opened[-1].__enter__()
        folder = tmp_path / "files"
        benches.append(Bench(provider=provider, side=side, settings=settings, sandbox=sandbox, folder=folder))
        return benches[-1]

    yield make
    for bench in benches:
        bench.journal.stop()
    for settings in reversed(opened):
        settings.__exit__(None, None, None)


@pytest.fixture(params=["kimi", "glm"])
def provider(request: pytest.FixtureRequest) -> ProviderName:
    return "kimi" if request.param == "kimi" else "glm"


@pytest.fixture(params=list(UploadSide))
def side(request: pytest.FixtureRequest) -> UploadSide:
    return UploadSide(request.param)


@pytest.fixture
def bench(make_bench: MakeBench, provider: ProviderName, side: UploadSide) -> Bench:
    """Each provider with each implementation."""
    return make_bench(provider, side)
