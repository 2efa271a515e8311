"""`shim sandbox`."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from shim.cli.conventions import ExitCode
from tests.support.command_line import CommandLine, MakeCommandLine


def test_the_sandbox_serves_other_commands_until_interrupted(shim: CommandLine, documents: list[Path]) -> None:
    """With the variables that it prints, another command uses it, Supabase included; Ctrl-C ends it with 0."""
    with shim.start("sandbox", "--json") as process:
        assert process.stdout is not None
        announced = json.loads(process.stdout.readline())
        using = CommandLine(folder=shim.folder, environment=shim.environment | announced["environment"])
        finished = using("upload", documents[0], "--json")
        assert finished.code == ExitCode.OK
        assert not finished.document["sandbox"]

        second = shim("sandbox")
        assert second.code == ExitCode.SANDBOX
        [line] = second.err.splitlines()
        assert "another command is using the sandbox" in line

        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == ExitCode.OK


def test_a_port_that_is_taken_is_reported(shim: CommandLine, tmp_path: Path) -> None:
    """A port that cannot be listened on ends the command with 5 and one line."""
    with shim.start("sandbox", "--json") as process:
        assert process.stdout is not None
        port = json.loads(process.stdout.readline())["control_url"].split(":")[2].split("/")[0]
        finished = shim("sandbox", "--port", port, "--home", tmp_path / "other")
        assert finished.code == ExitCode.SANDBOX
        [line] = finished.err.splitlines()
        assert port in line
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == ExitCode.OK


def test_a_home_that_cannot_be_written_is_reported(command_line: MakeCommandLine, tmp_path: Path) -> None:
    """Where no state can be kept, the command ends with 5 and one line that names the variable to set."""
    occupied = tmp_path / "a-file"
    occupied.touch()
    finished = command_line(SHIM_HOME=str(occupied))("sandbox")
    assert finished.code == ExitCode.SANDBOX
    [line] = finished.err.splitlines()
    assert str(occupied) in line
    assert "SHIM_HOME" in line
