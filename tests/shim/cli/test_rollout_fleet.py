"""A rollout over several processes that do not know of each other: Prometheus counts, Unleash carries the decision."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

from migration import Side
from shim.cli.conventions import ExitCode
from tests.support.command_line import CommandLine, MakeCommandLine
from tests.support.fleet import Member, StartMember
from tests.support.prometheus import MakePrometheus, PrometheusServer
from tests.support.unleash import UnleashServer

NAME = "async-upload-glm"
SECONDS = 60.0


@pytest.fixture(autouse=True)
def flag(unleash_server: UnleashServer) -> None:
    """The flag exists, at 0 %."""
    unleash_server.admin.ensure(NAME)
    unleash_server.admin.turn_off(NAME, "a test begins")


@pytest.fixture
def make_shim(
    command_line: MakeCommandLine, unleash_server: UnleashServer
) -> Callable[[PrometheusServer], CommandLine]:
    def make(prometheus: PrometheusServer) -> CommandLine:
        return command_line(
            UNLEASH_URL=unleash_server.url,
            UNLEASH_API_TOKEN=unleash_server.backend_token,
            UNLEASH_ADMIN_TOKEN=unleash_server.admin_token,
            SHIM_PROMETHEUS_URL=prometheus.url,
        )

    return make


def candidate_calls(members: list[Member]) -> list[tuple[float, bool]]:
    return sorted((at, ok) for member in members for at, side, ok in member.calls() if side is Side.CANDIDATE)


def test_a_candidate_that_is_faulty_in_one_of_four_processes_is_rolled_back_in_all(
    make_prometheus: MakePrometheus,
    make_shim: Callable[[PrometheusServer], CommandLine],
    start_member: StartMember,
    unleash_server: UnleashServer,
    say: Callable[[str], None],
) -> None:
    """The controller sees harm in the counters of all, turns the flag off, and the last process follows in seconds."""
    members = [start_member(NAME, faulty=0.3 if number == 0 else 0.0) for number in range(4)]
    prometheus = make_prometheus([member.port for member in members])
    shim = make_shim(prometheus)
    finished = shim(
        "rollout", NAME, "--first-instance", "none", "--stages", "10,50", "--settle", "3s", "--every", 0.5, "--json"
    )
    assert finished.code == ExitCode.FAILED, finished.err
    last = json.loads(finished.out.splitlines()[-1])
    assert (last["phase"], last["flag_changed"]) == ("rolled_back", True)
    shown = unleash_server.admin.get(NAME)
    assert (shown.enabled, shown.percentage) == (False, 0)
    assert "was rolled back" in shown.description

    decided = shim("decisions", NAME, "--json").document[0]
    assert (decided["action"], decided["by"], decided["rule"]) == ("rollback", "rollout", "evidence")
    assert shim("replay", decided["id"], "--json").document == {
        "id": decided["id"],
        "recorded": "rollback",
        "computed": "rollback",
        "agrees": True,
    }
    time.sleep(3)
    calls = candidate_calls(members)
    assert all(member.calls(since=time.time() - 1) for member in members)  # they all still call
    last_one = calls[-1][0]
    assert time.time() - last_one > 1, "a process still serves the candidate"
    first_failure = next(at for at, ok in calls if not ok)
    harmed = sum(not ok for _, ok in calls)
    say(
        f"10 % of four processes, 3 of 10 calls fail in one: back {decided['at'] - first_failure:.1f} s after the "
        f"first failure, {harmed} of {len(calls)} calls harmed, last call on the candidate in any process "
        f"{last_one - decided['at']:.2f} s after the decision; evidence {decided['numbers']['evidence']:.0f}"
    )


def test_a_process_that_cannot_be_scraped_holds_the_rollout(
    make_prometheus: MakePrometheus,
    make_shim: Callable[[PrometheusServer], CommandLine],
    start_member: StartMember,
    unleash_server: UnleashServer,
) -> None:
    """Two healthy processes pass a stage; with one of them gone the data miss something, and nothing is promoted."""
    members = [start_member(NAME, rate=200) for _ in range(2)]
    prometheus = make_prometheus([member.port for member in members])
    shim = make_shim(prometheus)
    options = ("--first-instance", "web-2", "--stages", "0.1,50,100", "--soak", "3s", "--settle", "2s", "--margin", 3)
    process = shim.start("rollout", NAME, *options, "--every", 0.2, "--json")
    try:
        document = _follow(process, members, unleash_server)
    finally:
        process.kill()
        process.communicate()
    assert "cannot be scraped" in document["sentence"]
    shim("rollout", "abort", NAME)
    shown = unleash_server.admin.get(NAME)
    assert (shown.enabled, shown.percentage) == (False, 0)


def _follow(process: subprocess.Popen[str], members: list[Member], unleash_server: UnleashServer) -> dict[str, Any]:
    """Go along with the rollout through its first stage, and take a process away in the second."""
    assert process.stdout is not None
    end = time.monotonic() + SECONDS
    for line in process.stdout:
        document: dict[str, Any] = json.loads(line)
        where = document["stage"], document["reason"]
        if where == (1, "soaking"):
            served = [{side for _, side, _ in member.calls(since=time.time() - 0.5)} for member in members]
            assert served == [{Side.LEGACY}, {Side.CANDIDATE}]
        if where == (2, "settling"):
            assert unleash_server.admin.get(NAME).percentage == pytest.approx(0.1)
            members[0].stop()
        if where == (2, "no_data"):
            return document
        assert time.monotonic() < end, document
    raise AssertionError("the rollout ended")
