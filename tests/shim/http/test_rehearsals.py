"""A replay sends nothing to a real service, whatever threads, pools, loops and clients its function uses."""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from migration import Migration, Runtime, ShadowLimits, Side, migrate
from migration.model import Comparison, Verdict
from migration.routing import Shim
from migration.testing import FixedRouter, RecordingObserver
from shim.http.httpx_tap import install_httpx_tap, remove_httpx_tap
from tests.shim.http.rehearsed import (
    CANDIDATE_COMPARED,
    LEGACY_COMPARED,
    LEGACY_NOT_COMPARED,
    FilesReplay,
    Service,
    Ways,
)

_names = itertools.count()


@pytest.fixture(autouse=True)
def tap() -> Iterator[None]:
    install_httpx_tap()
    yield
    remove_httpx_tap()


@pytest.fixture
def service() -> Iterator[Service]:
    with Service().serving() as service:
        yield service


class Compared:
    """A function that uploads in one way, and its candidate in another, with all that a process would have of them."""

    def __init__(self, service: Service, legacy: Any, candidate: Any) -> None:
        self.service, self.ways = service, Ways(service.url)
        self.router, self.observer = FixedRouter(shadow=True), RecordingObserver()
        limits = ShadowLimits(yield_seconds=0, waiting=1000)
        self.runtime = Runtime(router=self.router, observers=[self.observer], shadow_limits=limits)
        self.runtime.loop.on_close(self.ways.close_sessions)

        @functools.wraps(candidate)
        async def coroutine(names: list[str]) -> list[str]:
            return list(await candidate(self.ways, names))

        migration = Migration(name="m", candidate=coroutine, replay=FilesReplay(service.url))

        def plain(names: list[str]) -> list[str]:
            return list(legacy(self.ways, names))

        self.shim: Shim[[list[str]], list[str]] = migrate(migration, runtime=self.runtime)(plain)
        self.called: list[str] = []

    def answered(self, files: int = 2) -> bool:
        """Whether a call with files of new names has its answer."""
        names = [f"file-{next(_names)}" for _ in range(files)]
        self.called += names
        return self.shim(names) in ([f"id of {name}" for name in names], names)

    def call(self) -> Comparison:
        """One call, which must be answered; its comparison."""
        assert self.answered()
        assert self.runtime.shadows.drain(30)
        return self.observer.comparisons[-1]

    def close(self) -> None:
        self.runtime.close()
        self.ways.close()

    def made_twice(self) -> list[str]:
        """What the service was sent without a call, or again."""
        made = list(self.service.made)
        for name in self.called:
            made.remove(name)
        return made


@pytest.fixture
def compared(service: Service, request: pytest.FixtureRequest) -> Iterator[Compared]:
    made = Compared(service, *request.param)
    yield made
    made.close()
    assert made.made_twice() == []


@pytest.mark.parametrize(
    "compared",
    [
        *((legacy, Ways.plainly_async) for legacy in LEGACY_COMPARED),
        *((Ways.plainly, candidate) for candidate in CANDIDATE_COMPARED),
    ],
    indirect=True,
    ids=lambda pair: "-".join(each.__name__ for each in pair),
)
@pytest.mark.parametrize("serve", Side)
def test_what_can_be_followed_is_compared(compared: Compared, serve: Side) -> None:
    """Both sides are the same, the first time and later, and the service has each file once."""
    compared.router.serve = serve
    for _ in range(4):
        found = compared.call()
        assert found.detail == ""
        assert (found.verdict, found.differences) == (Verdict.IDENTICAL, ())


@pytest.mark.parametrize(
    ("compared", "reason"),
    [((legacy, Ways.plainly_async), reason) for legacy, reason in LEGACY_NOT_COMPARED.items()],
    indirect=["compared"],
    ids=lambda value: value[0].__name__ if isinstance(value, tuple) else "",
)
def test_what_cannot_be_followed_is_not_compared(compared: Compared, reason: str) -> None:
    """The reason says why, every caller has its answer, and the service has each file once."""
    for _ in range(3):
        found = compared.call()
        assert found.verdict is Verdict.DROPPED
        assert reason in found.detail


@pytest.mark.parametrize("compared", [(Ways.plainly, Ways.and_leave_a_task)], indirect=True, ids=["task"])
def test_what_a_candidate_leaves_running_serves_callers(compared: Compared) -> None:
    """A task that a shadow began, and that feeds on a queue, is let go for callers; no shadow runs again."""
    first = compared.call()
    assert first.verdict is Verdict.DROPPED
    assert first.detail.startswith("candidate leaves the task 'feeding' running, which may work for callers later")
    assert compared.call().detail == first.detail
    compared.router.serve = Side.CANDIDATE
    for _ in range(3):
        assert compared.call().detail == first.detail


@pytest.mark.parametrize("compared", [(Ways.plainly, Ways.by_an_unrecorded_session)], indirect=True, ids=["session"])
def test_a_client_without_a_tap_is_refused(compared: Compared) -> None:
    """Also on connections that callers' requests have opened; callers are not refused."""
    assert compared.call().verdict is Verdict.CANDIDATE_ERROR
    compared.router.serve = Side.CANDIDATE
    for _ in range(3):
        assert "did not do the same again: error" in compared.call().detail


def storm(service: Service, rehearsals: int, seed: int) -> None:
    """So many rehearsals of functions that are drawn, each called by several threads at once."""
    draw = random.Random(seed)  # a test's own
    done = 0
    while done < rehearsals:
        legacy, candidate = draw.choice(LEGACY_COMPARED), draw.choice(CANDIDATE_COMPARED)
        compared = Compared(service, legacy, candidate)
        compared.router.serve = draw.choice(list(Side))
        with ThreadPoolExecutor(4) as callers:
            assert all(callers.map(lambda _, compared=compared: compared.answered(2), range(12)))
        assert compared.runtime.shadows.drain(60)
        found = [each for each in compared.observer.comparisons if "blocked the event loop" not in each.detail]
        compared.close()
        assert compared.made_twice() == []
        assert {(each.verdict, each.detail) for each in found} <= {(Verdict.IDENTICAL, "")}, (legacy, candidate)
        service.made.clear()
        done += 2 * len(found)


def test_many_rehearsals_send_nothing(service: Service) -> None:
    """Three hundred, beside callers: each verdict is right, and each caller has its answer."""
    storm(service, 300, seed=1)


@pytest.mark.thorough
@pytest.mark.parametrize("seed", range(10))
def test_ten_thousand_rehearsals_send_nothing(service: Service, seed: int) -> None:
    """Likewise, a thousand at a time."""
    storm(service, 1000, seed)
