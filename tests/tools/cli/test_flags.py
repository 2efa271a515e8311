"""`shim flags`, on a file and on a real server."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.unleash import UnleashServer
from tests.tools.cli.conftest import CommandLine, MakeCommandLine
from tools.cli.exits import ExitCode
from tools.migrations import NAMES

KIMI = NAMES[0]


@pytest.fixture
def created(shim: CommandLine) -> CommandLine:
    """The command line, with the project's flags in the file."""
    assert shim("flags", "create").code == ExitCode.OK
    return shim


def test_create_makes_all_flags_at_zero(shim: CommandLine) -> None:
    """Without a name, the flags of all migrations and of their shadows are created, on with 0 %."""
    flags = shim("flags", "create", "--json").document
    assert {flag["name"] for flag in flags} == {name + suffix for name in NAMES for suffix in ("", ".shadow")}
    assert all(flag["enabled"] and flag["percentage"] == 0 for flag in flags)
    assert shim("flags", "list", "--json").document["flags"] == sorted(flags, key=lambda flag: flag["name"])


def test_set_on_and_off(created: CommandLine) -> None:
    """A share can be set, a flag turned off with a reason and on again with the share that it had."""
    assert created("flags", "set", KIMI, 25, "--json").document["percentage"] == 25
    off = created("flags", "off", KIMI, "--because", "errors in the night", "--json").document
    assert not off["enabled"]
    assert "errors in the night" in off["description"]
    assert "errors in the night" in created("flags", "show", KIMI).out
    on = created("flags", "on", KIMI, "--json").document
    assert on["enabled"]
    assert on["percentage"] == 25


def test_a_name_that_is_nearly_right_is_answered_with_the_right_ones(created: CommandLine) -> None:
    """Another name changes nothing, and the answer says which flags may have been meant."""
    for name in ("kimi", "async-uplaod-kimi"):
        finished = created("flags", "set", name, 50)
        assert finished.code == ExitCode.FAILED
        [line] = finished.err.splitlines()
        assert KIMI in line
    assert all(flag["percentage"] == 0 for flag in created("flags", "list", "--json").document["flags"])


def test_a_broken_file_is_reported_and_kept(shim: CommandLine, tmp_path: Path) -> None:
    """A flags file that is not JSON ends the command with 4 and one line, and stays as it is."""
    broken = tmp_path / "home" / "flags.json"
    broken.parent.mkdir()
    broken.write_text("{")
    finished = shim("flags", "set", KIMI, 50)
    assert finished.code == ExitCode.FLAGS
    [line] = finished.err.splitlines()
    assert "flags.json" in line
    assert broken.read_text() == "{"


def test_an_unreachable_server_is_reported(command_line: MakeCommandLine) -> None:
    """A server that does not answer ends the command with 4; one without a token for changes with 3."""
    closed = "http://127.0.0.1:9"
    finished = command_line(UNLEASH_URL=closed, UNLEASH_ADMIN_TOKEN="token-of-mine")("flags", "off", KIMI)
    assert finished.code == ExitCode.FLAGS
    [line] = finished.err.splitlines()
    assert "token-of-mine" not in line
    finished = command_line(UNLEASH_URL=closed)("flags", "off", KIMI)
    assert finished.code == ExitCode.CONFIGURATION
    assert "UNLEASH_ADMIN_TOKEN" in finished.err


def test_flags_of_a_real_server(command_line: MakeCommandLine, unleash_server: UnleashServer) -> None:
    """With a server configured, the same commands change its flags, and `shim status` decides by them."""
    shim = command_line(
        UNLEASH_URL=unleash_server.url,
        UNLEASH_API_TOKEN=unleash_server.backend_token,
        UNLEASH_ADMIN_TOKEN=unleash_server.admin_token,
    )
    shim("flags", "create")
    shim("flags", "set", KIMI, 37)
    try:
        assert unleash_server.admin.get(KIMI).percentage == 37
        status = shim("status", "--json").document
        assert status["flags"]["source"] == "unleash"
        assert next(each for each in status["migrations"] if each["migration"] == KIMI)["percentage"] == 37
    finally:
        shim("flags", "set", KIMI, 0)
