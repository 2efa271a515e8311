"""`shim rollout` with a real Unleash server, real processes that call, and controllers that are killed."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flags import FileFlagAdmin
from migration import Side
from shim.cli.conventions import ExitCode
from tests.support.command_line import CommandLine, MakeCommandLine, RunHere
from tests.support.fleet import StartMember
from tests.support.unleash import UnleashServer
from tools.migrations import NAMES

KIMI = NAMES[0]
SECONDS = 90.0
QUICK = ("--soak", "1s", "--settle", "2s", "--margin", 20, "--every", 0.2, "--json")


@pytest.fixture
def unleash_shim(command_line: MakeCommandLine, unleash_server: UnleashServer) -> Iterator[CommandLine]:
    """The command line with a real server, whose flag is off at 0 % before and afterwards."""
    unleash_server.admin.ensure(KIMI)
    yield command_line(
        UNLEASH_URL=unleash_server.url,
        UNLEASH_API_TOKEN=unleash_server.backend_token,
        UNLEASH_ADMIN_TOKEN=unleash_server.admin_token,
    )
    unleash_server.admin.set_percentage(KIMI, 0)
    unleash_server.admin.turn_on(KIMI)


def documents(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    """What a rollout says, until it ends; it is killed if the test ends before."""
    assert process.stdout is not None
    end = time.monotonic() + SECONDS
    try:
        for line in process.stdout:
            yield json.loads(line)
            assert time.monotonic() < end, line
    finally:
        process.kill()
        process.communicate()


def test_a_rollout_advances_on_evidence_and_survives_a_kill(
    unleash_shim: CommandLine, unleash_server: UnleashServer, start_member: StartMember, tmp_path: Path
) -> None:
    """1, 10, 50, 100 %: killed with -9 at 10 %, the next command goes on there; each step is one record."""
    members = [start_member(KIMI, rate=250, home=tmp_path / "home") for _ in range(2)]
    began = time.time()
    for document in documents(unleash_shim.start("rollout", KIMI, *QUICK)):
        if document["stage"] == 2:
            break
    assert unleash_server.admin.get(KIMI).percentage == 10
    stages = []
    for document in documents(unleash_shim.start("rollout", KIMI, "--every", 0.2, "--json")):
        stages.append(document["stage"])
    assert stages == sorted(stages)
    assert (stages[0], stages[-1], document["phase"]) == (2, 4, "completed")
    assert unleash_server.admin.get(KIMI).percentage == 100
    recorded = unleash_shim("decisions", KIMI, "--json").document
    actions = [record["action"] for record in reversed(recorded) if record["action"] != "hold"]
    assert actions == ["start", "promote", "promote", "promote", "complete"]
    for record in recorded:
        if record["action"] != "start":
            again = unleash_shim("replay", record["id"], "--json")
            assert (again.code, again.document["agrees"]) == (ExitCode.OK, True)
    assert {side for _, side, ok in members[0].calls(since=began)} == set(Side)


def test_an_abort_ends_it_on_the_server_and_in_the_other_process(
    unleash_shim: CommandLine, unleash_server: UnleashServer, start_member: StartMember, tmp_path: Path
) -> None:
    """While one process carries it on, another one takes it back: off with the reason, 0 %, and the first one ends."""
    start_member(KIMI, home=tmp_path / "home")
    process = unleash_shim.start("rollout", KIMI, "--stages", "50", *QUICK[2:])
    for document in documents(process):
        if document["reason"] == "settling":
            second = unleash_shim("rollout", KIMI)
            assert second.code == ExitCode.FAILED
            assert f"process {process.pid} of" in second.err
            assert unleash_shim("rollout", "abort", KIMI, "--because", "the night shift asked").code == ExitCode.OK
    assert document["phase"] == "aborted"
    shown = unleash_server.admin.get(KIMI)
    assert (shown.enabled, shown.percentage) == (False, 0)
    assert "the night shift asked" in shown.description


def test_without_calls_it_is_held(run_here: RunHere, flags: FileFlagAdmin, shim: CommandLine) -> None:
    """Nothing was counted, so nothing is promoted; the flag stays at the first stage, and the status says why."""
    for document in documents(shim.start("rollout", KIMI, "--stages", "0.1,1", *QUICK)):
        if document["move"] == "hold":
            break
    assert document["reason"] == "no_data"
    assert flags.get(KIMI).percentage == pytest.approx(0.1)
    assert "0.1 %" in run_here("rollout", "status", KIMI).out
    other = run_here("rollout", KIMI, "--stages", "5")
    assert other.code == ExitCode.USAGE
    assert "running with another plan" in other.err
    assert run_here("rollout", "abort", KIMI).code == ExitCode.OK
    assert run_here("rollout", "pause", KIMI).code == ExitCode.FAILED


def test_what_cannot_be_rolled_out(run_here: RunHere) -> None:
    """An unknown migration, a share that cannot be set, stages that shrink and a wrong time are refused."""
    assert run_here("rollout", "nothing").code == ExitCode.USAGE
    for options in (("--stages", "33.3"), ("--stages", "10,1"), ("--soak", "soon"), ("--margin", "0")):
        assert run_here("rollout", KIMI, *options).code in {ExitCode.USAGE, ExitCode.FAILED}
    assert run_here("rollout", "status", KIMI).code == ExitCode.FAILED
