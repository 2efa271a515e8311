"""A drill of a migration that declares nothing but a name: what it tries out is routing, guard and flags."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from migration.guard import GuardStore
from shim import Application
from shim.drill import DrillError, DrillPlan, run_drill
from shim.faults import DrillFault
from shim.settings import ShimSettings

NAME = "new-prices"


def application_in(home: Path) -> Application:
    """An application of two lines, whose state is in `home`."""
    return Application(migrations={}, settings=lambda: ShimSettings(shim_home=home))


@pytest.mark.parametrize("fault", [DrillFault.ERROR, DrillFault.HANG, DrillFault.SLOW, DrillFault.WRONG])
def test_legacy_serves_again(fault: DrillFault, tmp_path: Path, say: Callable[[str], None]) -> None:
    """The guard decides, no call that begins later is misrouted, the flag is off, and only the result is left."""
    told: list[str] = []
    drill = run_drill(DrillPlan(migration=NAME, fault=fault), application_in(tmp_path), progress=told.append)
    assert drill.ok, drill
    assert drill.decided is not None
    say(f"{fault}: {drill.misrouted} of {drill.calls} calls misrouted, decided after {drill.decided:.2f} s")
    assert drill.rule == "evidence"
    assert 0 < drill.misrouted < drill.calls / 2
    assert drill.failed <= drill.misrouted
    assert drill.last_begun <= drill.decided + 0.1
    assert "the candidate gets 10 %, and goes wrong" in told
    assert list((tmp_path / "drills").iterdir()) == []
    assert not GuardStore(tmp_path / "shim.db").statuses(), "the machine's own guard knows nothing of it"


def test_a_server_must_be_configured(tmp_path: Path) -> None:
    """Flags on a server need one: the message names the variables."""
    plan = DrillPlan(migration=NAME, fault=DrillFault.ERROR, on_server=True)
    with pytest.raises(DrillError, match="UNLEASH_ADMIN_TOKEN"):
        run_drill(plan, application_in(tmp_path))
