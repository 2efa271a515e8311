"""The button, end to end: the real page, the real Unleash server, and another process of the machine that follows."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests

from migration.guard import NO_SWITCH, DecisionRecord, GuardStore, flag_changes
from shim.console.access import NotTrippedError, RollBack
from shim.wiring import open_guard_store
from tests.migration.helpers import ROOT, eventually
from tests.shim.console.conftest import Open, Opened
from tests.shim.console.scene import FLAG, Served
from tests.support.unleash import UnleashServer
from tools.settings import Settings

Run = Callable[..., Served]

SECONDS = 30.0
REASON = "the new path loses files"

FOLLOWER = f"""
import sys, time
from shim.wiring import decision_now
from tools.application import app
from tools.settings import Settings
with app.running(Settings()) as installation:
    guard = installation.guard
    while decision_now(guard, {FLAG!r}).probability == 0:
        time.sleep(0.01)
    print("routed", flush=True)
    while (decision := decision_now(guard, {FLAG!r})).probability:
        time.sleep(0.01)
    print(time.time(), decision.source, flush=True)
"""


@pytest.fixture
def settings(empty: Settings, unleash_server: UnleashServer) -> Iterator[Settings]:
    """The machine follows the real server, whose flag is on, ten percent."""
    admin = unleash_server.admin
    admin.ensure(FLAG)
    admin.ensure(f"{FLAG}.shadow")
    admin.set_percentage(FLAG, 10)
    admin.turn_on(FLAG)
    yield Settings(
        **(
            empty.model_dump()
            | {
                "unleash_url": unleash_server.url,
                "unleash_api_token": unleash_server.backend_token,
                "unleash_admin_token": unleash_server.admin_token,
                "unleash_refresh_seconds": 0.5,
            }
        )
    )
    admin.set_percentage(FLAG, 0)
    admin.turn_on(FLAG)


@contextmanager
def follower(settings: Settings) -> Iterator[Callable[[], list[str]]]:
    """Another process of the machine; gives what it says next."""
    assert settings.unleash_url
    assert settings.unleash_api_token
    environment = {
        "PYTHONPATH": str(ROOT),
        "SHIM_HOME": str(settings.shim_home),
        "UNLEASH_URL": settings.unleash_url,
        "UNLEASH_API_TOKEN": settings.unleash_api_token.get_secret_value(),
    }
    with subprocess.Popen(  # noqa: S603  # a program of the test's own
        [sys.executable, "-c", FOLLOWER], cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE
    ) as process:
        said = process.stdout
        assert said is not None
        try:
            yield lambda: said.readline().split()
        finally:
            process.kill()


def press(opened: Opened, because: str = REASON) -> str:
    """Press the button, give a reason, confirm; what the page says came of it."""
    page = opened.page
    page.get_by_role("button", name="Roll back now").click()
    page.get_by_label("Reason, for the log").fill(because)
    page.locator("#confirm-yes").click()
    result = page.locator("#confirm-result:not(:empty).good, #confirm-result:not(:empty).bad")
    result.wait_for()
    return result.inner_text()


def rolled_back(settings: Settings) -> DecisionRecord | None:
    records = open_guard_store(settings).records(FLAG)
    return next((record for record in records if record.action == "rollback"), None)


def is_carried_out(settings: Settings) -> bool:
    record = rolled_back(settings)
    return record is not None and record.carried_out_at is not None


def audit_log(server: UnleashServer) -> list[Any]:
    """What the server's own log says of the flag, newest first."""
    answer = requests.get(
        f"{server.url}/api/admin/search/events",
        params={"feature": f"IS:{FLAG}"},
        headers={"Authorization": server.admin_token},
        timeout=10,
    )
    events: list[Any] = answer.json()["events"]
    return events


def test_the_button_rolls_back(
    *,
    settings: Settings,
    unleash_server: UnleashServer,
    console_of: Run,
    open_page: Open,
    say: Callable[[str], None],
) -> None:
    """Other processes of the machine follow within a second or so; the flag is off on the server, which logs it."""
    opened = open_page(console_of(settings))
    opened.wait_for_updates()
    with follower(settings) as follows:
        assert follows() == ["routed"]
        pressed = time.time()
        assert "was rolled back by hand" in press(opened)
        at, by = follows()
    assert eventually(lambda: is_carried_out(settings), SECONDS)
    record = rolled_back(settings)
    assert record is not None
    assert record.carried_out_at is not None
    flag = unleash_server.admin.get(FLAG)
    assert not flag.enabled
    assert REASON in flag.description
    assert any(event["type"] == "feature-environment-disabled" for event in audit_log(unleash_server)[:5])
    opened.page.get_by_role("button", name="Close").click()
    opened.page.get_by_text("the flag was turned off at").wait_for()
    assert "rolled back: 0 %" in opened.page.locator("#status").inner_text()
    opened.screenshot("console-rolled-back")
    say(
        f"a process of the machine followed {float(at) - pressed:.2f} s after the click (by {by}); the flag was off "
        f"{record.carried_out_at - record.at:.2f} s after the decision"
    )


def test_the_button_works_without_the_server(
    *,
    settings: Settings,
    unleash_server: UnleashServer,
    console_of: Run,
    open_page: Open,
    say: Callable[[str], None],
) -> None:
    """While the server is away the machine follows the trip; when it is back, the flag is turned off."""
    opened = open_page(console_of(settings))
    opened.wait_for_updates()
    with follower(settings) as follows:
        assert follows() == ["routed"]
        unleash_server.stop()
        try:
            pressed = time.time()
            assert "was rolled back by hand" in press(opened)
            at, by = follows()
            assert by == "guard"
            assert eventually(
                lambda: (found := rolled_back(settings)) is not None and found.problem is not None, SECONDS
            )
            opened.page.get_by_role("button", name="Close").click()
            opened.page.get_by_text("the flag is still to be turned off").wait_for()
            assert not is_carried_out(settings)
        finally:
            unleash_server.start()
    back = time.time()
    assert eventually(lambda: is_carried_out(settings), SECONDS)
    assert not unleash_server.admin.get(FLAG).enabled
    opened.page.get_by_text("the flag was turned off at").wait_for()
    say(
        f"a process of the machine followed {float(at) - pressed:.2f} s after the click without a server; the flag was "
        f"off {time.time() - back:.2f} s after the server was back"
    )


def test_the_button_asks_first(empty: Settings, console_of: Run, open_page: Open) -> None:
    """Closing the question rolls nothing back; without the token the page asks for it, and says what was wrong."""
    opened = open_page(console_of(empty), with_token=False)
    opened.wait_for_updates()
    page = opened.page
    page.get_by_role("button", name="Roll back now").click()
    page.get_by_role("button", name="Close").click()
    assert rolled_back(empty) is None
    assert "takes the token" in press(opened)
    assert rolled_back(empty) is None
    opened.complaints.clear()  # the browser logs the refusal
    page.locator("#confirm-token").fill("a-token-for-the-tests")
    page.locator("#confirm-yes").click()
    page.get_by_text("was rolled back by hand").first.wait_for()
    assert rolled_back(empty) is not None


class Flags:
    """A switch that fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.attempts: list[str] = []

    def turn_off(self, migration: str, *, because: str) -> str:
        """Turn it off, or fail."""
        self.attempts.append(f"{migration}: {because}")
        if len(self.attempts) <= self.failures:
            raise ConnectionError("no server here")
        return "off"

    def compare_more(self, migration: str, *, percent: int, because: str) -> None:
        """A rollback by hand does not ask for it."""
        raise NotImplementedError


@pytest.fixture
def store(empty: Settings) -> GuardStore:
    return open_guard_store(empty)


@contextmanager
def working(store: GuardStore, flags: Flags | None) -> Iterator[RollBack]:
    rolling = RollBack(store, flags)
    rolling.start()
    try:
        yield rolling
    finally:
        rolling.close()


def test_it_is_tried_until_the_flag_is_off(store: GuardStore) -> None:
    """A switch that fails twice is tried a third time; in between the record says what is wrong."""
    flags = Flags(failures=2)
    with working(store, flags) as rolling:
        done = rolling.roll_back(FLAG, because="a test", by="an operator")
        assert store.statuses()[FLAG].tripped_by == done.number
        assert eventually(lambda: (record := store.record(done.number)) is not None and record.problem is not None)
        assert eventually(lambda: store.statuses()[FLAG].carried_out)
    assert len(flags.attempts) == 3
    record = store.record(done.number)
    assert record is not None
    assert record.problem is None


def test_what_a_dead_console_left_is_done(store: GuardStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A roll-back whose console has ended is carried out by the next console, after a while."""
    RollBack(store, Flags()).roll_back(FLAG, because="a test", by="an operator")
    flags = Flags()
    with working(store, flags):
        assert not eventually(lambda: bool(flags.attempts), 1.0)
        monkeypatch.setattr(flag_changes, "TAKE_OVER_SECONDS", 0.0)
        assert eventually(lambda: store.statuses()[FLAG].carried_out)


def test_without_a_switch_it_trips_and_says_so(store: GuardStore) -> None:
    """Where flags may not be changed, this machine follows, and the record says what is left to do."""
    with working(store, None) as rolling:
        done = rolling.roll_back(FLAG, because="", by="an operator")
    record = store.record(done.number)
    assert record is not None
    assert record.problem == NO_SWITCH
    assert store.statuses()[FLAG].tripped_by == done.number


def test_without_the_file_the_flag_is_turned_off(empty: Settings) -> None:
    """A trip that cannot be written is said, and does not keep the flag from being turned off."""
    empty.shim_home.parent.mkdir(parents=True, exist_ok=True)
    empty.shim_home.write_text("in the way")
    flags = Flags(failures=1)
    with working(GuardStore(empty.shim_home / "shim.db"), flags) as rolling:
        with pytest.raises(NotTrippedError, match="is being turned off"):
            rolling.roll_back(FLAG, because="a test", by="an operator")
        assert eventually(lambda: len(flags.attempts) == 2)


def test_reasons_are_one_short_line(store: GuardStore) -> None:
    """Whatever was typed stands in the log as one line of bounded length."""
    done = RollBack(store, None).roll_back(FLAG, because="a\n\tb  " + "x" * 5000, by="an operator")
    assert "\n" not in done.sentence
    assert ": a b xxx" in done.sentence
    assert len(done.sentence) < 300
