"""Whatever a controller was doing when it died, the next one goes on from there; and there is never a second one."""

from __future__ import annotations

from pathlib import Path

import pytest

from migration.guard import DecisionRecord
from migration.model.errors import RolloutError
from migration.rollout import Exposure, FlagShown, RolloutPhase, only_controller
from migration.rollout.store import OvertakenError
from tests.migration.helpers import run_script
from tests.migration.rollout.rolling import PLAN, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "shim.db")


def _ready(world: World) -> None:
    world.begin()
    world.serve_well(0.01, 60_000)
    world.at += 60


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_change_of_the_flag_that_was_not_confirmed_is_made_again(
    world: World, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Dying between the decision and the flag, or between the flag and its confirmation, leads to the same state."""
    _ready(world)
    change = world.dial.set

    def die(migration: str, exposure: Exposure) -> None:
        if when == "after":
            change(migration, exposure)
        raise KeyboardInterrupt

    monkeypatch.setattr(world.dial, "set", die)
    with pytest.raises(KeyboardInterrupt):
        world.controller.look()
    monkeypatch.undo()
    world.controller = world.process()
    assert world.controller.rollout().stage == 1
    assert world.look() == "apply stage"
    assert world.dial.flag.exposure == Exposure(10)
    assert world.look(5) == "wait soaking"
    assert world.actions() == ["start", "promote"]


def test_a_crash_before_the_decision_was_kept_has_decided_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The flag is changed after the decision is in the store, never before."""
    _ready(world)

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(world.store, "keep", die)
    with pytest.raises(KeyboardInterrupt):
        world.controller.look()
    monkeypatch.undo()
    assert world.dial.done == ["1 %"]
    world.controller = world.process()
    assert world.look() == "promote promote"


def test_a_rollback_without_a_controller_is_found(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard may roll back when no controller runs; the next one does not undo that, even with a change due."""
    _ready(world)
    with monkeypatch.context() as patch:
        patch.delattr(type(world.dial), "set")
        assert world.look() == "promote promote"
    assert world.controller.rollout().changed is None
    world.store.decide(DecisionRecord(at=0, migration="m", action="rollback", by="guard", sentence="Bad."), due=False)
    world.controller = world.process()
    assert world.look() == "follow guard"
    assert world.dial.done == ["1 %", "closed: m ends at 0 %: the guard rolled it back (decision 3)."]


def test_a_flag_out_of_reach_is_tried_until_it_is_changed(world: World) -> None:
    """No record says that something was done that was not: the record says why it is due."""
    _ready(world)
    world.dial.broken = True
    assert [world.look(), world.look(1)] == ["hold no_flag", "hold no_flag"]
    world.controller.abort(because="now", by="an operator")
    assert world.controller.problem == "ConnectionError: out of reach"
    assert world.store.records("m")[0].problem == "ConnectionError: out of reach"
    world.dial.broken = False
    assert world.look() == "apply aborted"
    assert world.look() == "end aborted"
    assert world.store.records("m")[0].carried_out_at is not None


def test_a_look_from_before_a_command_keeps_nothing(world: World) -> None:
    """A step that was worked out from an older state is refused, so a pause or an abort is never overwritten."""
    _ready(world)
    old = world.controller.rollout()
    world.process().abort(because="now", by="an operator")
    with pytest.raises(OvertakenError):
        world.store.keep(old)
    assert world.controller.rollout().phase is RolloutPhase.ABORTED


@pytest.mark.parametrize("reached", [True, False])
def test_an_abort_wins_over_a_change_in_flight(world: World, monkeypatch: pytest.MonkeyPatch, *, reached: bool) -> None:
    """An abort while the controller is opening the flag closes it, also if the opening came last."""

    def interrupted(migration: str, exposure: Exposure) -> None:
        del migration
        world.process().abort(because="now", by="an operator")
        world.dial.flag = FlagShown(enabled=True, exposure=exposure)
        if not reached:
            raise TimeoutError

    monkeypatch.setattr(world.dial, "open", interrupted)
    world.controller.begin(PLAN, by="a test")
    assert world.look() == "apply aborted"
    assert world.dial.flag == FlagShown(enabled=False, exposure=Exposure(0))
    assert world.look() == "end aborted"


def test_an_abort_that_the_controller_carries_out_as_well_succeeds(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The person is not told to try again what is done."""
    _ready(world)
    close, looks = world.dial.close, list[str]()

    def watched(migration: str, *, because: str) -> None:
        close(migration, because=because)
        if not looks:
            looks.append("")
            looks.append(world.look())

    monkeypatch.setattr(world.dial, "close", watched)
    assert world.process().abort(because="now", by="an operator").phase is RolloutPhase.ABORTED
    assert looks == ["", "apply aborted"]
    assert world.look() == "end aborted"


def test_the_state_survives_as_it_is(world: World) -> None:
    """What is read again is what was kept."""
    _ready(world)
    world.look()
    kept = world.controller.rollout()
    assert type(kept).restored(kept.state()) == kept


def test_there_is_one_controller_a_migration(tmp_path: Path) -> None:
    """A second one is told who the first one is; another migration has its own; a dead one holds nothing."""
    with (
        only_controller(tmp_path, "m", who="alice"),
        only_controller(tmp_path, "n", who="alice"),
        pytest.raises(RolloutError, match=r"process \d+ of alice on"),
        only_controller(tmp_path, "m", who="bob"),
    ):
        pass
    killed = """
import os, signal, sys, pathlib
from migration.rollout import only_controller
if os.fork() == 0:
    with only_controller(pathlib.Path(sys.argv[1]), "m", who="carol"):
        os.kill(os.getpid(), signal.SIGKILL)
os.wait()
"""
    run_script(killed, str(tmp_path))
    with only_controller(tmp_path, "m", who="bob"):
        pass


def test_plans_that_cannot_be_carried_out() -> None:
    """Stages must grow, and shares must be such as can be set exactly."""
    for stages in ((), (Exposure(10), Exposure(1)), (Exposure(10), Exposure(10)), (Exposure(0),)):
        with pytest.raises(RolloutError):
            type(PLAN)(stages=stages)
    for percent in (-1, 100.5, 2.5, 0.005, 101):
        with pytest.raises(ValueError, match="is no share"):
            Exposure(percent)
    assert [str(Exposure.parse(text)) for text in ("0.1", "0.05", "1", "100")] == ["0.1 %", "0.05 %", "1 %", "100 %"]
