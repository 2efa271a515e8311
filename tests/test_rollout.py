"""The main job, end to end: the unchanged caller, a real Unleash server, its web console, and the sandbox."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from migration import Side
from observability.testing import Capture
from shim.installation import Installation
from tools.application import app
from tools.sandbox import RunningSandbox
from tools.settings import Settings, use_settings
from tools.smart_file_query import SmartFileQueryTool

if TYPE_CHECKING:
    from tests.support.unleash import UnleashConsole, UnleashServer

FLAG = "async-upload-kimi"
SHADOW = f"{FLAG}.shadow"
SECONDS = 20.0


@pytest.fixture
def settings(sandbox: RunningSandbox, unleash_server: UnleashServer, tmp_path: Path) -> Iterator[Settings]:
    settings = Settings(
        kimi_api_url=sandbox.urls["kimi"],
        glm_api_url=sandbox.urls["glm"],
        kimi_api_key="planted-kimi-key",
        glm_api_key="planted-glm-key",
        unleash_url=unleash_server.url,
        unleash_api_token=unleash_server.backend_token,
        unleash_refresh_seconds=0.2,
        shim_home=tmp_path / "state",
        shim_allowed_roots=(tmp_path,),
    )
    with use_settings(settings):
        yield settings


@pytest.fixture
def flags(unleash_server: UnleashServer) -> Iterator[None]:
    """Both flags exist, at 0 %."""
    for name in (FLAG, SHADOW):
        unleash_server.admin.ensure(name)
        unleash_server.admin.turn_on(name)
        unleash_server.admin.set_percentage(name, 0)
    yield
    for name in (FLAG, SHADOW):
        unleash_server.admin.set_percentage(name, 0)


@pytest.fixture
def capture() -> Capture:
    return Capture()


@pytest.fixture
def installation(settings: Settings, flags: None, capture: Capture) -> Iterator[Installation]:  # noqa: ARG001  # the flags come first
    with app.running(settings, capture=capture) as installation:
        yield installation


class Caller:
    """Asks about one new file after the other, through the unchanged tool, and sees who served the upload."""

    def __init__(self, folder: Path, installation: Installation) -> None:
        self._folder = folder
        self._ledger = installation.ledger
        self._asked = 0

    def ask(self) -> Side:
        self._asked += 1
        path = self._folder / f"question-{self._asked}.txt"
        path.write_text(f"Document number {self._asked} speaks of migrations.")
        before = self._calls()
        arguments = {"file_path": str(path), "question": "What does it speak of?", "provider": "kimi"}
        with ThreadPoolExecutor(1) as elsewhere:  # Playwright keeps an event loop in this thread
            answer = json.loads(
                elsewhere.submit(copy_context().run, asyncio.run, SmartFileQueryTool().execute(arguments)).result()
            )
        assert answer["status"] == "success", answer
        assert f"number {self._asked}" in answer["content"]
        after = self._calls()
        [side] = [side for side in Side if after[side] == before[side] + 1]
        return side

    def ask_until(self, side: Side) -> float:
        """Ask until `side` serves; the seconds that took."""
        start = time.monotonic()
        while self.ask() is not side:
            assert time.monotonic() - start < SECONDS, f"{side} never served"
        return time.monotonic() - start

    def _calls(self) -> dict[Side, int]:
        assert self._ledger.flush()
        return {side: totals.calls for side, totals in self._ledger.status(FLAG).sides.items()}


@pytest.fixture
def caller(tmp_path: Path, installation: Installation) -> Caller:
    return Caller(tmp_path, installation)


def test_a_flip_through_the_admin_api_changes_the_route(
    unleash_server: UnleashServer, caller: Caller, say: Callable[[str], None]
) -> None:
    """An unchanged `smart_file_query` uploads on the other path soon after each flip, and is back as soon."""
    assert caller.ask() is Side.LEGACY
    unleash_server.admin.set_percentage(FLAG, 100)
    forth = caller.ask_until(Side.CANDIDATE)
    unleash_server.admin.turn_off(FLAG, "a test rolls back")
    back = caller.ask_until(Side.LEGACY)
    assert [caller.ask() for _ in range(3)] == [Side.LEGACY] * 3
    say(f"flip to 100 % took effect after {forth:.2f} s, roll-back after {back:.2f} s")


def test_a_flip_in_the_web_console_changes_the_route(
    unleash_server: UnleashServer, unleash_console: UnleashConsole, caller: Caller, say: Callable[[str], None]
) -> None:
    """Somebody who only knows the console rolls back with one click."""
    unleash_server.admin.set_percentage(FLAG, 100)
    caller.ask_until(Side.CANDIDATE)
    unleash_console.toggle(FLAG)
    back = caller.ask_until(Side.LEGACY)
    screenshot = unleash_console.screenshot("rolled-back-in-the-console")
    assert screenshot.stat().st_size > 10_000
    say(f"one click in the console was back on legacy after {back:.2f} s; screenshot {screenshot.name}")


def test_calls_are_served_while_the_server_is_down(
    unleash_server: UnleashServer, caller: Caller, installation: Installation
) -> None:
    """Without a server every call is still answered, and the reason is in the decision."""
    unleash_server.stop()
    try:
        assert caller.ask() is Side.LEGACY
    finally:
        unleash_server.start()
    assert installation.ledger.status(FLAG).decision is not None


def test_sampled_calls_are_compared(unleash_server: UnleashServer, caller: Caller, installation: Installation) -> None:
    """With the shadow flag on, each upload is compared with the other side, and nothing is created for it."""
    unleash_server.admin.set_percentage(SHADOW, 100)
    deadline = time.monotonic() + SECONDS
    while not installation.ledger.status(FLAG).verdicts.get("identical") and time.monotonic() < deadline:
        caller.ask()
        assert installation.runtime.shadows.drain(SECONDS)
        installation.ledger.flush()
    verdicts = installation.ledger.status(FLAG).verdicts
    assert set(verdicts) == {"identical"}, installation.ledger.comparisons(FLAG)


def test_one_trace_holds_the_call_its_side_and_its_requests(
    unleash_server: UnleashServer, caller: Caller, capture: Capture
) -> None:
    """The spans of an upload hang together across the threads and the background loop."""
    unleash_server.admin.set_percentage(FLAG, 100)
    caller.ask_until(Side.CANDIDATE)
    spans: dict[str, Any] = {}
    for span in capture.spans():
        spans.setdefault(span.name, []).append(span)
    whole = spans[FLAG][-1]
    side = next(
        span for span in spans[f"{FLAG} candidate"] if span.parent and span.parent.span_id == whole.context.span_id
    )
    requests = [span for span in capture.spans() if span.parent and span.parent.span_id == side.context.span_id]
    assert {(span.attributes or {})["http.request.method"] for span in requests} == {"POST"}
    assert {span.context.trace_id for span in requests} == {whole.context.trace_id}
