"""Both providers, an embedded storage, and something to upload."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tools.providers.surface import PROVIDERS, Provider
from tools.storage.local import LocalStorage


@pytest.fixture(params=["kimi", "glm"])
def provider(request: pytest.FixtureRequest) -> Provider:
    return PROVIDERS[request.param]


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "storage")


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "report.txt"
    path.write_bytes(b"The first line.\nThe second line.\n")
    return path
