"""Fixtures of bad weather: services behind proxies, and what must not be left behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.migration.helpers import eventually
from tests.tools.weather.bench import Bench, broken_wires, descriptors, threads
from tools.engine import delivery
from tools.sandbox import RunningSandbox

PATIENCE_SECONDS = 2.0
"""What an upload of the asynchronous side may take in all, each time that it is tried."""


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """After the test there are no more descriptors and threads than before."""
    descriptors_before, threads_before = descriptors(), threads()
    yield
    assert eventually(lambda: len(descriptors()) <= len(descriptors_before), 10), (
        f"{descriptors()}, not {descriptors_before}"
    )
    assert eventually(lambda: threads() <= threads_before, 10), f"left: {threads() - threads_before}"


@pytest.fixture(params=["embedded", "supabase"])
def bench(
    request: pytest.FixtureRequest,
    sandbox: RunningSandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    nothing_left: None,  # noqa: ARG001  # it ends after the bench
) -> Iterator[Bench]:
    """Copies go to a folder, or to Supabase; looking twice for a lost upload takes no second."""
    monkeypatch.setattr(delivery, "_SECOND_LOOK_SECONDS", 0.05)
    sandbox.set_limits(kimi_max_files=100_000, glm_max_files=100_000)
    supabase = request.param == "supabase"
    with broken_wires(sandbox, tmp_path, supabase=supabase, upload_timeout=PATIENCE_SECONDS) as made:
        yield made
