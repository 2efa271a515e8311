"""Fixtures: one sandbox process for the whole session, empty at the start of each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tools.sandbox import RunningSandbox, running_sandbox


@pytest.fixture(scope="session")
def sandbox_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    """The process that all tests share."""
    with running_sandbox(tmp_path_factory.mktemp("sandbox")) as running:
        yield running


@pytest.fixture
def sandbox(sandbox_process: RunningSandbox) -> Iterator[RunningSandbox]:
    """The sandbox without files, rows, requests and faults."""
    sandbox_process.reset()
    yield sandbox_process
    sandbox_process.clear_faults()
