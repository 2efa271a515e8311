"""The shared journal's requests are no traffic of an upload."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shim.http.httpx_tap import install_httpx_tap, remove_httpx_tap
from shim.http.recording import ExchangeLog, RequestObservation, noting, watch
from tests.tools.journal.supabase_making import intent, journal_of, opened, sandbox_project
from tools.journal.port import Facts, Opened, State
from tools.sandbox import RunningSandbox


class Watcher:
    """An observer that sees a request."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def request_started(self, *, method: str, url: str) -> RequestObservation:
        self.seen.append(f"{method} {url}")
        return self

    def finished(self, *, status: int | None, error: BaseException | None) -> None:
        self.seen.append(f"{status} {error}")

    def pool_limit(self, *, connections: int) -> None:
        self.seen.append(f"{connections} connections")

    def pool_waited(self, *, seconds: float) -> None:
        self.seen.append(f"{seconds} s")

    def pool_in_use(self, *, change: int) -> None:
        self.seen.append(f"{change:+d}")


@pytest.fixture
def watcher() -> Iterator[Watcher]:
    """Watches every tap of this process."""
    watcher = Watcher()
    install_httpx_tap()
    watch(watcher)
    yield watcher
    watch(None)
    remove_httpx_tap()


def test_no_comparison_and_no_telemetry_sees_the_journals_requests(
    sandbox: RunningSandbox, tmp_path: Path, watcher: Watcher
) -> None:
    """What a call journals is not among what is compared of it, nor among its spans, nor in its pool of connections."""
    log = ExchangeLog()
    with journal_of(sandbox_project(sandbox), tmp_path) as journal, noting(log):
        wanted = intent()
        assert opened(journal, wanted) == Opened()
        journal.note(wanted.upload_id, State.DELIVERED, Facts(provider_file_id="file-1"))
        journal.close(wanted.upload_id, State.DONE)
        assert journal.flush(10)
        assert journal.status().in_flight == 0
    assert len(sandbox.requests("supabase")) >= 3
    assert (log.exchanges, watcher.seen) == ([], [])
