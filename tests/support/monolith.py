"""Fixtures: the monolith's configuration, pointed at the sandbox and at temporary folders."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tools.sandbox import RunningSandbox
from tools.settings import reload_settings

PREFIXES = ("KIMI_", "GLM_", "SUPABASE_", "UNLEASH_", "SHIM_", "UPLOAD_", "QUERY_", "SHADOW_", "DRAIN_")

SetEnvironment = Callable[..., None]


@pytest.fixture
def set_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SetEnvironment]:
    """Sets variables (None unsets one) and puts them in force; at first there are none but a temporary home."""

    def change(**variables: str | None) -> None:
        for name, value in variables.items():
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)
        reload_settings()

    change(**{name: None for name in os.environ if name.startswith(PREFIXES)})
    change(SHIM_HOME=str(tmp_path / "home"))
    yield change
    reload_settings()


@pytest.fixture
def monolith(sandbox: RunningSandbox, set_environment: SetEnvironment, tmp_path: Path) -> RunningSandbox:
    """Both providers are the sandbox, the storage is the embedded one, and files in `tmp_path` may be asked about."""
    set_environment(
        KIMI_API_URL=sandbox.urls["kimi"],
        KIMI_API_KEY=sandbox.key,
        GLM_API_URL=sandbox.urls["glm"],
        GLM_API_KEY=sandbox.key,
        SHIM_ALLOWED_ROOTS=str(tmp_path),
    )
    return sandbox
