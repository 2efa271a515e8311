"""The sink, compiled once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.running import Stage, prepared_stage
from bench.sink import Sink, running_sink

LARGE_BYTES = 256 * 8192 + 3


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The sink's program, a certificate, a folder."""
    with prepared_stage(tmp_path_factory.mktemp("bench")) as made:
        yield made


@pytest.fixture
def sink(stage: Stage) -> Iterator[Sink]:
    """A sink that speaks plain HTTP."""
    with running_sink(stage.sink_program) as running:
        yield running


@pytest.fixture
def tls_sink(stage: Stage) -> Iterator[Sink]:
    """A sink that speaks TLS."""
    with running_sink(stage.sink_program, stage.certificate) as running:
        yield running


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file that is sent in many pieces."""
    path = tmp_path / "large.bin"
    path.write_bytes(bytes(range(256)) * 8192 + b"end")
    return path
