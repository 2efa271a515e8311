"""A runtime for each test, closed after it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from migration import Runtime, Side
from migration.store import Ledger
from migration.testing import FixedRouter, RecordingObserver
from tests.migration.outbox import Outbox
from tests.migration.shadowing import Bench


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


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the ledger is."""
    return tmp_path / "state" / "shim.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    ledger = Ledger(path, now=lambda: 1000.0)
    yield ledger
    ledger.flush()


@pytest.fixture(params=Side)
def bench(
    request: pytest.FixtureRequest,
    runtime: Runtime,
    router: FixedRouter,
    observer: RecordingObserver,
    outbox: Outbox,
) -> Bench:
    router.serve, router.shadow = request.param, True
    return Bench(runtime, router, observer, outbox)
