"""Telemetry in memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from observability import Sources, Telemetry, TelemetryHandle, setup
from observability.testing import Capture


@pytest.fixture
def capture() -> Capture:
    """Everything observed in this test."""
    return Capture()


@pytest.fixture
def handle(capture: Capture) -> Iterator[TelemetryHandle]:
    """Telemetry that goes to `capture` only."""
    handle = setup(environ={}, capture=capture, sources=Sources(labels=("upload.provider",)))
    yield handle
    handle.shutdown()


@pytest.fixture
def telemetry(handle: TelemetryHandle) -> Telemetry:
    """The observer under test."""
    return Telemetry(handle)
