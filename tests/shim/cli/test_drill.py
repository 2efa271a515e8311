"""`shim drill`: a candidate that goes wrong on purpose, and how soon legacy serves again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from shim.cli.conventions import ExitCode
from shim.drill_history import KEEP_DRILLS, DrillHistory, DrillResult
from tests.support.command_line import RunHere

pytestmark = pytest.mark.thorough

if TYPE_CHECKING:
    from tests.support.unleash import UnleashServer

KIMI = "async-upload-kimi"
RULES = {
    "error": {"evidence"},
    "timeout": {"evidence"},
    "hang": {"evidence"},
    "slow": {"evidence"},
    "bytes": {"evidence"},
    "memory": {"memory_growth"},
}


@pytest.mark.parametrize("fault", RULES)
def test_every_fault_ends_on_legacy(run_here: RunHere, fault: str, tmp_path: Path, say: Callable[[str], None]) -> None:
    """The guard decides, nothing that begins later is misrouted, the flag is off, and nothing of the drill stays."""
    finished = run_here("drill", KIMI, "--fault", fault, "--json")
    assert finished.code == ExitCode.OK, finished.out + finished.err
    drill = finished.document
    say(
        f"{drill['misrouted']} of {drill['calls']} calls misrouted, decided after {drill['decided']:.2f} s, "
        f"the last misrouted one began after {drill['last_begun']:.2f} s, flag off after {drill['flag_off']:.2f} s"
    )
    assert drill["rule"] in RULES[fault]
    assert drill["last_begun"] <= drill["decided"] + 0.1
    assert drill["misrouted"] < drill["calls"] / 2
    assert drill["failed"] <= drill["misrouted"], "legacy's own calls succeed"
    assert list((tmp_path / "home" / "drills").iterdir()) == []
    assert not (tmp_path / "home" / "shim.db").exists(), "the machine's own guard knows nothing of it"
    [kept] = run_here("drill", "--history", "--json").document
    assert kept == drill


def test_a_drill_on_the_server_has_flags_of_its_own(run_here: RunHere, unleash_server: UnleashServer) -> None:
    """They are off afterwards, and the migration's own flag is as it was."""
    unleash_server.admin.ensure(KIMI)
    unleash_server.admin.turn_on(KIMI)
    unleash_server.admin.set_percentage(KIMI, 7)
    finished = run_here(
        "drill",
        KIMI,
        "--on-server",
        "--json",
        UNLEASH_URL=unleash_server.url,
        UNLEASH_API_TOKEN=unleash_server.backend_token,
        UNLEASH_ADMIN_TOKEN=unleash_server.admin_token,
    )
    assert finished.code == ExitCode.OK, finished.out + finished.err
    assert finished.document["flags"] == unleash_server.url
    assert not unleash_server.admin.get(f"{KIMI}.drill").enabled
    own = unleash_server.admin.get(KIMI)
    assert (own.enabled, own.percentage) == (True, 7)
    unleash_server.admin.set_percentage(KIMI, 0)


def test_what_is_impossible_is_said(run_here: RunHere) -> None:
    """A name that is not declared, no name, and a server that is not configured."""
    assert run_here("drill", "new-thumbnails").code == ExitCode.USAGE
    assert KIMI in run_here("drill").err
    assert "UNLEASH_URL" in run_here("drill", KIMI, "--on-server").err


def _drill(at: float) -> DrillResult:
    return DrillResult(
        at=at, migration=KIMI, fault="error", percent=10, severity=100, flags="a file", calls=50, misrouted=3,
        failed=3, decided=None, last_begun=1.0, last_ended=1.0, begun_later=0, flag_off=None, legacy_after=0, rule=None,
        sentence="Nothing.", seconds=2.0,
    )  # fmt: skip


def test_the_history_is_shown_bounded_and_private(run_here: RunHere, tmp_path: Path) -> None:
    """Newest first, at most so many, readable by its owner only; a drill without a decision is a failed one."""
    path = tmp_path / "home" / "drills.jsonl"
    path.parent.mkdir()
    path.write_text("".join(run_line(number) for number in range(KEEP_DRILLS)))
    path.chmod(0o600)
    history = DrillHistory(path)
    history.add(_drill(at=5000.0))
    drills = history.drills()
    assert len(drills) == KEEP_DRILLS
    assert (drills[0].at, drills[-1].at) == (5000.0, 1.0)
    assert history.drills("another") == []
    out = run_here("drill", "--history", COLUMNS="200").out
    assert "never" in out
    assert "failed" in out
    assert path.stat().st_mode & 0o777 == 0o600


def run_line(number: int) -> str:
    drill = _drill(at=float(number))
    return json.dumps({name: getattr(drill, name) for name in DrillResult.__slots__}) + "\n"


def test_a_damaged_history_is_said(run_here: RunHere, tmp_path: Path) -> None:
    """In one line, with what to do."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "drills.jsonl").write_text("garbage\n")
    finished = run_here("drill", "--history")
    assert finished.code == ExitCode.FAILED
    assert "move it away" in finished.err
