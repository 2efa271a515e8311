"""The guard, end to end: the unchanged callers, a real Unleash server, the sandbox, and other processes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from migration import Side
from migration.guard import DecisionRecord
from shim.faults import DrillFault, Faults, faulty
from shim.installation import Installation
from shim.wiring import open_guard_store
from tests.migration.helpers import eventually
from tools.application import app
from tools.demo.results import Served, Watcher
from tools.load import Job, sample_of, steady_load
from tools.migrations import MIGRATIONS
from tools.sandbox import RunningSandbox
from tools.settings import Settings, use_settings
from tools.storage import get_storage

if TYPE_CHECKING:
    from tests.support.unleash import UnleashConsole, UnleashServer

FLAG = "async-upload-kimi"
TARGET = "tools.providers.kimi.kimi_files:upload_via_supabase_gateway_kimi"
SECONDS = 30.0
ROOT = Path(__file__).parents[1]

FOLLOWER = f"""
import json, sys, time
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
    print(json.dumps([time.time(), decision.source]), flush=True)
"""


@pytest.fixture
def settings(sandbox: RunningSandbox, unleash_server: UnleashServer, tmp_path: Path) -> Iterator[Settings]:
    settings = Settings(
        kimi_api_url=sandbox.urls["kimi"],
        glm_api_url=sandbox.urls["glm"],
        kimi_api_key=sandbox.key,
        glm_api_key=sandbox.key,
        unleash_url=unleash_server.url,
        unleash_api_token=unleash_server.backend_token,
        unleash_admin_token=unleash_server.admin_token,
        unleash_refresh_seconds=0.5,
        shim_home=tmp_path / "state",
    )
    with use_settings(settings):
        yield settings


@pytest.fixture
def flag(unleash_server: UnleashServer) -> Iterator[str]:
    """The migration's flag, on, ten percent; off afterwards."""
    for name, percentage in ((FLAG, 10), (f"{FLAG}.shadow", 0)):
        unleash_server.admin.ensure(name)
        unleash_server.admin.set_percentage(name, percentage)
        unleash_server.admin.turn_on(name)
    yield FLAG
    unleash_server.admin.set_percentage(FLAG, 0)
    unleash_server.admin.turn_on(FLAG)


class World:
    """Traffic through an installation whose candidate fails from a moment on."""

    def __init__(self, settings: Settings, installation: Installation, watcher: Watcher, faults: Faults) -> None:
        self.settings = settings
        self.guard = installation.guard
        self.watcher = watcher
        self._faults = faults

    def go_wrong(self) -> None:
        self._faults.severity = 1.0

    def record(self) -> DecisionRecord | None:
        records = open_guard_store(self.settings).records(FLAG)
        return next((record for record in records if record.action == "rollback"), None)

    def carried_out(self) -> bool:
        record = self.record()
        return record is not None and record.carried_out_at is not None

    def misrouted(self) -> list[Served]:
        return [call for call in self.watcher.served() if call.side is Side.CANDIDATE]

    def legacy_served(self, more: int) -> bool:
        """Whether legacy has served so many more, and nobody else."""
        self.watcher.take_served()
        served = eventually(lambda: len(self.watcher.served()) >= more, SECONDS)
        return served and not self.misrouted()


@pytest.fixture
def world(settings: Settings, flag: str, tmp_path: Path) -> Iterator[World]:  # noqa: ARG001  # the flag comes first
    watcher, faults = Watcher(clock=time.time), Faults(kind=DrillFault.ERROR, severity=0.0)
    candidate = faulty(str(MIGRATIONS[TARGET].candidate), faults)
    migrations = {**MIGRATIONS, TARGET: replace(MIGRATIONS[TARGET], candidate=candidate)}
    path = tmp_path / "report.txt"
    path.write_text("The ferry leaves at noon.\n")
    jobs = [Job(sample=sample_of(path), provider="kimi")]
    with app.running(settings, observers=[watcher], migrations=migrations) as installation:
        world = World(settings, installation, watcher, faults)
        with steady_load(jobs, get_storage(), threads=4):
            assert eventually(lambda: len(world.misrouted()) > 2, SECONDS)
            yield world


@contextmanager
def follower(settings: Settings, home: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that decides by the same server; with another home it shares nothing else."""
    token, admin = settings.unleash_api_token, settings.unleash_admin_token
    assert settings.unleash_url
    assert token
    assert admin
    environment = {
        "PYTHONPATH": str(ROOT),
        "SHIM_HOME": str(home),
        "UNLEASH_URL": settings.unleash_url,
        "UNLEASH_API_TOKEN": token.get_secret_value(),
        "UNLEASH_ADMIN_TOKEN": admin.get_secret_value(),
        "UNLEASH_REFRESH_SECONDS": str(settings.unleash_refresh_seconds),
    }
    with subprocess.Popen(  # noqa: S603  # a program of the test's own
        [sys.executable, "-c", FOLLOWER], cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_faulty_candidate_is_rolled_back_everywhere(
    world: World,
    unleash_server: UnleashServer,
    unleash_console: UnleashConsole,
    tmp_path: Path,
    say: Callable[[str], None],
) -> None:
    """This process at once, others of the machine within a round, all others by the server, which says why."""
    with (
        follower(world.settings, world.settings.shim_home) as neighbour,
        follower(world.settings, tmp_path / "elsewhere") as stranger,
    ):
        for process in (neighbour, stranger):
            assert process.stdout is not None
            assert process.stdout.readline() == "routed\n"
        world.watcher.take_served()
        began = time.time()
        world.go_wrong()
        assert eventually(lambda: FLAG in world.guard.tripped, SECONDS)
        assert eventually(world.carried_out, SECONDS)
        assert eventually(lambda: sum(call.side is Side.LEGACY for call in world.watcher.served()) > 20, SECONDS)
        harmed = [call for call in world.misrouted() if call.ended > began]
        record = world.record()
        assert record is not None
        assert record.carried_out_at is not None
        followed = []
        for process in (neighbour, stranger):
            assert process.stdout is not None
            followed.append(json.loads(process.stdout.readline()))
    late = [call for call in harmed if call.began > record.at + 0.005]
    (neighbour_at, neighbour_by), (stranger_at, stranger_by) = followed
    last = max(call.ended for call in harmed) - began
    say(
        f"{len(harmed)} harmed uploads at 10 %, the last one ended {last:.2f} s after the candidate went wrong; "
        f"decided after {record.at - began:.2f} s, flag off {record.carried_out_at - record.at:.2f} s later; a process "
        f"of the machine followed {neighbour_at - record.at:.2f} s after the decision (by {neighbour_by}), one that "
        f"only knows the server {stranger_at - record.at:.2f} s (by {stranger_by})"
    )
    assert not late, "nothing is misrouted once it is decided"
    flag = unleash_server.admin.get(FLAG)
    assert not flag.enabled
    assert record.sentence in flag.description
    assert stranger_by != "guard"
    page = unleash_console.page
    page.goto(f"{unleash_server.url}/projects/default/features/{FLAG}")
    assert page.get_by_role("switch", name="development").is_checked() is False
    page.get_by_text("was rolled back").first.wait_for()
    assert unleash_console.screenshot("rolled-back-by-the-guard").stat().st_size > 10_000


def test_a_server_that_is_away_changes_nothing_here(
    world: World, unleash_server: UnleashServer, say: Callable[[str], None]
) -> None:
    """Without the server the trip holds in this process; the flag is turned off as soon as the server is back."""
    unleash_server.stop()
    try:
        world.go_wrong()
        assert eventually(lambda: FLAG in world.guard.tripped, SECONDS)
        assert eventually(lambda: (record := world.record()) is not None and record.problem is not None, SECONDS)
        assert eventually(lambda: not world.misrouted() or world.misrouted()[-1].ended < time.time() - 0.5, SECONDS)
        assert world.legacy_served(50)
        assert not world.carried_out()
    finally:
        unleash_server.start()
    back = time.time()
    assert eventually(world.carried_out, 60)
    assert world.legacy_served(20)
    flag = unleash_server.admin.get(FLAG)
    assert not flag.enabled
    assert "was rolled back" in flag.description
    say(f"the flag was off {time.time() - back:.1f} s after the server was back; meanwhile legacy served every upload")
