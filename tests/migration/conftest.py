"""A runtime for each test, closed after it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from migration import Runtime
from migration.testing import FixedRouter, RecordingObserver
from tests.migration.outbox import Outbox


@pytest.fixture
def router() -> FixedRouter:
    return FixedRouter()


@pytest.fixture
def observer() -> RecordingObserver:
    return RecordingObserver()


@pytest.fixture
def runtime(router: FixedRouter, observer: RecordingObserver) -> Iterator[Runtime]:
    runtime = Runtime(router=router, observers=[observer])
    yield runtime
    runtime.close(timeout=5.0)


@pytest.fixture
def outbox() -> Outbox:
    return Outbox()
