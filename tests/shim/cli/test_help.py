"""Help, exit codes and wrong usage."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from shim.cli.conventions import MEANINGS, ExitCode
from tests.support.command_line import CommandLine, RunHere


def test_help_names_commands_and_exit_codes(shim: CommandLine) -> None:
    """`shim --help` shows every command and what every exit code means."""
    finished = shim("--help")
    assert finished.code == ExitCode.OK
    for command in ("ask", "upload", "status", "mismatches", "compare", "flags", "sandbox", "demo"):
        assert f"\n  {command} " in finished.out
    for code in ExitCode:
        assert f"{code.value}  {MEANINGS[code]}" in finished.out


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["fly"], "fly"),
        (["upload"], "FILE"),
        (["ask", "file.txt"], "QUESTION"),
        (["upload", "--concurrency", "0", "file.txt"], "--concurrency"),
        (["flags", "set", "async-upload-kimi", "33.3"], "PERCENT"),
        (["flags", "set", "async-upload-kimi", "101"], "101"),
    ],
)
@pytest.mark.usefixtures("flags")
def test_wrong_usage_is_one_line(run_here: RunHere, arguments: list[str], hint: str) -> None:
    """Wrong usage says in one line what is wrong, prints no result, and ends with 2."""
    finished = run_here(*arguments)
    assert finished.code == ExitCode.USAGE
    assert finished.out == ""
    [line] = finished.err.splitlines()
    assert line.startswith("shim: ")
    assert hint in line


def test_without_a_command_there_is_help(run_here: RunHere) -> None:
    """`shim` alone shows the help."""
    assert run_here() == run_here("--help")


def test_a_traceback_is_shown_on_demand_only(run_here: RunHere) -> None:
    """With `--debug` the place of an error can be found; without it there is one line."""
    assert "Traceback" in run_here("--debug", "flags", "show", "nothing").err
    assert len(run_here("flags", "show", "nothing").err.splitlines()) == 1


def test_help_loads_nothing_heavy() -> None:
    """What is needed to show help loads neither HTTP clients nor telemetry nor the flags' client."""
    heavy = ("aiohttp", "openai", "opentelemetry", "UnleashClient", "pydantic")
    script = (
        f"import sys, shim.cli; shim.cli.main(['--help']); print([name for name in {heavy!r} if name in sys.modules])"
    )
    loaded = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout  # noqa: S603  # our own script
    assert loaded.splitlines()[-1] == "[]"


def test_a_wrong_variable_is_named(run_here: RunHere) -> None:
    """A variable with a wrong value is named in one line, and its value is not shown."""
    for command in (["status"], ["upload", "a.txt"], ["ask", "a.txt", "why?"], ["flags", "list"], ["demo"]):
        finished = run_here(*command, KIMI_API_URL="secret-place")
        assert finished.code == ExitCode.CONFIGURATION
        [line] = finished.err.splitlines()
        assert "KIMI_API_URL" in line
        assert "secret-place" not in line


def test_no_command_is_described_by_half_a_sentence(run_here: RunHere, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a terminal of 80 columns every line of the list of commands ends where its sentence does."""
    monkeypatch.setenv("COLUMNS", "80")
    for group in ((), ("flags",), ("rollout",), ("mismatches",), ("shadows",)):
        shown = run_here(*group, "--help").out
        assert [line for line in shown.splitlines() if line.endswith("...") and not line.startswith("Usage")] == []
        assert max(map(len, shown.splitlines())) <= 80


def test_a_machine_on_which_nothing_has_happened(run_here: RunHere, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command says what to do first, and names no error; nothing is broken."""
    monkeypatch.setenv("COLUMNS", "80")
    status = run_here("status").out
    assert "none yet, legacy serves every call; `shim flags create` makes them" in status
    for shown in (status, run_here("decisions").out, run_here("flags").out):
        assert "Error" not in shown
        assert "error" not in shown
    assert run_here("shadows").code == run_here("mismatches").code == ExitCode.OK


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["mcp", "--port", "1234"], "--http"),
        (["callers", "nosuch"], "no migration is called 'nosuch'"),
        (["drill", "--fault", "nosuch"], "'--fault': 'nosuch' is not one of"),
    ],
)
def test_wrong_arguments_are_said_as_everywhere(run_here: RunHere, arguments: list[str], hint: str) -> None:
    """They end with 2 and one line, in the words of the other commands."""
    finished = run_here(*arguments)
    assert finished.code == ExitCode.USAGE
    assert hint in finished.err
    assert len(finished.err.splitlines()) == 1


def test_a_folder_without_sources_is_said(run_here: RunHere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking for callers where there are no sources says how to name the folder."""
    monkeypatch.chdir(tmp_path)
    finished = run_here("ready", "async-upload-kimi")
    assert finished.code == ExitCode.FAILED
    assert "--source" in finished.err


def test_a_removed_command_says_where_to_go(run_here: RunHere) -> None:
    """`shim top` names what shows the same."""
    finished = run_here("top")
    assert finished.code == ExitCode.USAGE
    assert "shim status --watch" in finished.err


def test_the_version_needs_no_application(run_here: RunHere) -> None:
    """It is printed whatever is, or is not, named as the application."""
    finished = run_here("--app", "nosuch.module:app", "--version")
    assert (finished.code, finished.err) == (ExitCode.OK, "")
    assert finished.out.strip()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "gbk"])
def test_a_name_that_the_terminal_cannot_show_is_an_escape(shim: CommandLine, encoding: str) -> None:
    """The command ends as it would elsewhere, and its result is printed: a script would else repeat what was done."""
    name = "report\N{PAGE FACING UP}.txt"
    (shim.folder / name).write_text("text")
    finished = replace(shim, environment=shim.environment | {"PYTHONIOENCODING": encoding})("upload", name)
    assert finished.code == ExitCode.OK
    assert "report\\U0001f4c4.txt" in finished.out
