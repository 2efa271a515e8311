"""`shim flags`, on a file and on a real server."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from flags import FileFlagAdmin
from shim.cli.conventions import ExitCode
from shim.process import who_acts
from tests.support.command_line import RunHere
from tests.support.unleash import UnleashServer
from tools.migrations import NAMES

KIMI = NAMES[0]


def test_create_makes_all_flags_at_zero(run_here: RunHere) -> None:
    """Without a name, the flags of all migrations and of their shadows are created, on with 0 %."""
    flags = run_here("flags", "create", "--json").document
    assert {flag["name"] for flag in flags} == {name + suffix for name in NAMES for suffix in ("", ".shadow")}
    assert all(flag["enabled"] and flag["percentage"] == 0 for flag in flags)
    assert run_here("flags", "list", "--json").document["flags"] == sorted(flags, key=lambda flag: flag["name"])


def test_set_on_and_off(run_here: RunHere, flags: FileFlagAdmin) -> None:
    """A share can be set, a flag turned off with a reason and on again with the share that it had."""
    assert run_here("flags", "set", KIMI, 25, "--json").document["percentage"] == 25
    assert run_here("flags", "off", KIMI, "--because", "errors in the night").code == ExitCode.OK
    assert not flags.get(KIMI).enabled
    assert "errors in the night" in run_here("flags", "show", KIMI).out
    assert run_here("flags", "on", KIMI).code == ExitCode.OK
    assert flags.get(KIMI).enabled
    assert flags.get(KIMI).percentage == 25


def test_who_changed_a_flag_is_known_in_the_morning(run_here: RunHere, flags: FileFlagAdmin) -> None:
    """Each change of a migration's flags is among the decisions, with who made it and why; the guard holds nothing."""
    run_here("flags", "set", KIMI, 25)
    run_here("flags", "off", KIMI, "--because", "errors in\nthe night")
    run_here("flags", "on", f"{KIMI}.shadow")
    run_here("flags", "stage", KIMI, "live", "--percent", 10)
    stage, on, off, set_ = run_here("decisions", KIMI, "--json").document
    assert [each["action"] for each in (set_, off, on, stage)] == ["set", "off", "on", "stage"]
    assert off["by"] == f"{who_acts()} (command line)"
    assert off["sentence"] == f"{KIMI} was turned off by {who_acts()}: errors in the night."
    assert off["carried_out_at"] == off["at"]
    assert f"{KIMI}.shadow" in on["sentence"]
    assert "stage live" in stage["sentence"]
    assert run_here("status", "--json").document["migrations"][0]["guard"]["state"] == "watching"
    assert "Turned off" not in flags.get(KIMI).description


def test_other_flags_are_no_decision(run_here: RunHere, flags: FileFlagAdmin) -> None:
    """A flag that belongs to no migration is changed, and nothing is written down."""
    flags.ensure("a-banner")
    assert run_here("flags", "off", "a-banner").code == ExitCode.OK
    assert run_here("decisions", "--json").document == []


def test_a_flag_is_turned_off_although_that_is_not_recorded(
    run_here: RunHere, flags: FileFlagAdmin, tmp_path: Path
) -> None:
    """If the decisions cannot be written, the flag is off all the same, and the command says what is missing."""
    (tmp_path / "home" / "shim.db").write_text("no database")
    finished = run_here("flags", "off", KIMI)
    assert finished.code == ExitCode.OK
    assert "`shim decisions` will not show it" in finished.err
    assert not flags.get(KIMI).enabled


def test_without_a_command_the_flags_are_listed(run_here: RunHere, flags: FileFlagAdmin) -> None:
    """`shim flags` is `shim flags list`, with `--json` as well; a command that does not exist is still said."""
    assert flags.list()
    assert run_here("flags").out == run_here("flags", "list").out
    assert run_here("flags", "--json").document == run_here("flags", "list", "--json").document
    assert run_here("flags", "of", KIMI).code == ExitCode.USAGE


def test_a_user_without_a_name_can_act(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container whose user has no name, the number is used."""

    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr("getpass.getuser", nameless)
    assert who_acts() == f"user {os.getuid()}"


def test_a_name_that_is_nearly_right_is_answered_with_the_right_ones(run_here: RunHere, flags: FileFlagAdmin) -> None:
    """Another name changes nothing, and the answer says which flags may have been meant."""
    for name in ("kimi", "async-uplaod-kimi"):
        finished = run_here("flags", "set", name, 50)
        assert finished.code == ExitCode.FAILED
        [line] = finished.err.splitlines()
        assert KIMI in line
    assert all(flag.percentage == 0 for flag in flags.list())


def test_a_broken_file_is_reported_and_kept(run_here: RunHere, tmp_path: Path) -> None:
    """A flags file that is not JSON ends the command with 4 and one line, and stays as it is."""
    broken = tmp_path / "home" / "flags.json"
    broken.parent.mkdir()
    broken.write_text("{")
    finished = run_here("flags", "set", KIMI, 50)
    assert finished.code == ExitCode.FLAGS
    [line] = finished.err.splitlines()
    assert "flags.json" in line
    assert broken.read_text() == "{"


def test_an_unreachable_server_is_reported(run_here: RunHere) -> None:
    """A server that does not answer ends the command with 4; one without a token for changes with 3."""
    closed = "http://127.0.0.1:9"
    finished = run_here("flags", "off", KIMI, UNLEASH_URL=closed, UNLEASH_ADMIN_TOKEN="token-of-mine")
    assert finished.code == ExitCode.FLAGS
    [line] = finished.err.splitlines()
    assert "token-of-mine" not in line
    finished = run_here("flags", "off", KIMI, UNLEASH_URL=closed)
    assert finished.code == ExitCode.CONFIGURATION
    assert "UNLEASH_ADMIN_TOKEN" in finished.err


def test_flags_of_a_real_server(run_here: RunHere, unleash_server: UnleashServer) -> None:
    """With a server configured, the same commands change its flags, and `shim status` decides by them."""
    server = {
        "UNLEASH_URL": unleash_server.url,
        "UNLEASH_API_TOKEN": unleash_server.backend_token,
        "UNLEASH_ADMIN_TOKEN": unleash_server.admin_token,
    }
    run_here("flags", "create", KIMI, **server)
    run_here("flags", "on", KIMI, **server)  # an earlier test may have left it off
    run_here("flags", "set", KIMI, 37, **server)
    try:
        assert unleash_server.admin.get(KIMI).percentage == 37
        deadline = time.monotonic() + 60  # the server tells its clients of a change after a second or so
        percentage = None
        while percentage != 37 and time.monotonic() < deadline:
            status = run_here("status", "--json", **server).document
            assert status["flags"]["source"] == "unleash"
            percentage = next(each for each in status["migrations"] if each["migration"] == KIMI)["percentage"]
        assert percentage == 37
    finally:
        unleash_server.admin.set_percentage(KIMI, 0)
