"""What the tests of this room share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import pytest

from flags import Freshness, UnleashRouter
from tests.flags.helpers import ALL, TOKEN, Clock, ScriptedServer, scripted_server


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Say something that the reader of the test run is to see, like a measured time."""

    def say(text: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n{text}\n")

    return say


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as script:
        script.body = ALL
        yield script


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make_router(server: ScriptedServer, clock: Clock) -> Iterator[Callable[[], UnleashRouter]]:
    routers: list[UnleashRouter] = []

    def make(url: str = "") -> UnleashRouter:
        routers.append(
            UnleashRouter.from_server(
                url or server.url,
                TOKEN,
                refresh_seconds=0.05,
                request_timeout=0.5,
                start_timeout=0.5,
                freshness=Freshness(doubtful_after=10, dead_after=60),
                clock=clock,
            )
        )
        routers[-1].follow()
        return routers[-1]

    yield make
    server.released.set()
    for router in routers:
        router.close()
