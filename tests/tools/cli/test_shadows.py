"""`shim shadows clean`, and the modes of shadows as the command line meets them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from flags import FileFlagAdmin
from migration.shadow import UndoJournal, UndoLimits, UndoState
from shim.cli.conventions import ExitCode
from tests.support.command_line import RunHere
from tools.migrations import NAMES
from tools.sandbox import RunningSandbox

LIMITS = UndoLimits(objects=10, hourly_bytes=1000)


def leave(home: Path, sandbox: RunningSandbox, mark: str) -> None:
    """Write down a trial of which nothing was made, at the embedded storage and the sandbox's Kimi."""
    journal = UndoJournal(home / "shim.db", LIMITS, now=time.time)
    places = {
        "provider": "kimi",
        "provider_address": sandbox.urls["kimi"],
        "storage": f"folder:{home / 'storage'}",
        "folder": "kimi-gateway",
    }
    assert journal.begin(mark, places, objects=1, size=1) is None
    journal.end(mark, UndoState.LEFT)


def test_nothing_left(run_here: RunHere) -> None:
    """Without open cleanups the command says so, and asks no service."""
    finished = run_here("shadows", "clean")
    assert finished.code == ExitCode.OK
    assert "left nothing" in finished.out
    assert run_here("shadows", "clean", "--json").document == []


def test_what_is_left_is_shown_and_removed(run_here: RunHere, sandbox: RunningSandbox, tmp_path: Path) -> None:
    """A dry run changes nothing; then it is cleaned up, once."""
    leave(tmp_path / "home", sandbox, "shadow-1-")
    variables = {"KIMI_API_KEY": sandbox.key, "KIMI_API_URL": sandbox.urls["kimi"]}
    [seen] = run_here("shadows", "clean", "--dry-run", "--json", **variables).document
    assert (seen["mark"], seen["fate"]) == ("shadow-1-", "there")
    finished = run_here("shadows", "clean", **variables)
    assert finished.code == ExitCode.OK
    assert "removed" in finished.out
    assert run_here("shadows", "clean", "--json").document == []


def test_what_cannot_be_told_is_no_success(run_here: RunHere, sandbox: RunningSandbox, tmp_path: Path) -> None:
    """A cleanup at a place that is not configured ends with 1, until it is said that it may be forgotten."""
    leave(tmp_path / "home", sandbox, "shadow-1-")
    variables = {"KIMI_API_KEY": sandbox.key, "KIMI_API_URL": "https://elsewhere.example"}
    finished = run_here("shadows", "clean", "--json", **variables)
    assert finished.code == ExitCode.FAILED
    assert finished.document[0]["fate"] == "uncertain"
    assert "not configured here" in finished.document[0]["detail"]
    assert run_here("shadows", "clean", "--forget", **variables).code == ExitCode.OK
    assert run_here("shadows", "clean", "--json", **variables).document == []


@pytest.mark.parametrize(("mode", "possible"), [("kept", True), ("live", False), ("replay", False)])
def test_dual_write_needs_the_mode(run_here: RunHere, flags: FileFlagAdmin, mode: str, possible: bool) -> None:  # noqa: FBT001  # a column of the table
    """`dualwrite` and `rampdown` can be set where shadows are kept, and only there."""
    for stage in ("dualwrite", "rampdown"):
        finished = run_here("flags", "stage", NAMES[0], stage, SHADOW_MODE=mode)
        assert finished.code == (ExitCode.OK if possible else ExitCode.FAILED)
    assert flags.get(f"{NAMES[0]}.shadow").percentage == (100 if possible else 0)
    shadowed = run_here("flags", "stage", NAMES[0], "shadow", SHADOW_MODE=mode)
    assert shadowed.code == (ExitCode.FAILED if possible else ExitCode.OK)


def test_a_wrong_mode_is_named(run_here: RunHere) -> None:
    """As every wrong variable."""
    finished = run_here("flags", "stage", NAMES[0], "shadow", SHADOW_MODE="twice")
    assert finished.code == ExitCode.CONFIGURATION
    assert "SHADOW_MODE" in finished.err
