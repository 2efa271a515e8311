"""`shim flags stage`: both flags of a migration at once."""

from __future__ import annotations

import pytest

from flags import FileFlagAdmin
from shim.cli.conventions import ExitCode
from tests.support.command_line import RunHere
from tools.migrations import NAMES

KIMI, SHADOW = NAMES[0], f"{NAMES[0]}.shadow"


def shares(flags: FileFlagAdmin) -> tuple[float | None, float | None]:
    assert flags.get(KIMI).enabled
    assert flags.get(SHADOW).enabled
    return flags.get(KIMI).percentage, flags.get(SHADOW).percentage


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["shadow"], (0, 100)),
        (["shadow", "--percent", "25"], (0, 25)),
        (["live", "--percent", "10"], (10, 100)),
        (["live"], (100, 100)),
        (["complete"], (100, 0)),
        (["off"], (0, 0)),
    ],
)
def test_a_stage_sets_both_flags(
    run_here: RunHere, flags: FileFlagAdmin, arguments: list[str], expected: tuple[int, int]
) -> None:
    """And says what it set."""
    document = run_here("flags", "stage", KIMI, *arguments, "--json").document
    assert shares(flags) == expected
    assert [flag["percentage"] for flag in document["flags"]] == list(expected)
    assert document["stage"] == arguments[0]


def test_a_flag_that_was_off_is_turned_on(run_here: RunHere, flags: FileFlagAdmin) -> None:
    """A stage that needs a share needs the flag on."""
    flags.turn_off(KIMI, "by hand")
    flags.turn_off(SHADOW, "by hand")
    assert run_here("flags", "stage", KIMI, "live").code == ExitCode.OK
    assert shares(flags) == (100, 100)


@pytest.mark.parametrize(
    ("name", "arguments", "word"),
    [
        (KIMI, ["dualwrite"], "kept"),
        (KIMI, ["rampdown"], "kept"),
        (KIMI, ["complete", "--percent", "50"], "100 percent"),
        ("new-thumbnails", ["live"], KIMI),
    ],
)
def test_what_is_impossible_changes_nothing(
    run_here: RunHere, flags: FileFlagAdmin, name: str, arguments: list[str], word: str
) -> None:
    """A stage that the declaration does not allow, a share that does not suit it, a name that is not declared."""
    finished = run_here("flags", "stage", name, *arguments)
    assert finished.code == ExitCode.FAILED
    [line] = finished.err.splitlines()
    assert word in line
    assert shares(flags) == (0, 0)
