"""The controller of a rollout: it advances on evidence and time alone, and whatever is missing holds it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from migration import Side
from migration.guard import CallTally, DecisionRecord
from migration.model.errors import RolloutError
from migration.rollout import CallCounter, CounterReading, Exposure, FlagShown, LedgerTallies, RolloutPhase, replay_step
from migration.rollout.counts import MAX_COUNTERS, counted
from migration.rollout.model import StageCounts
from migration.store import Ledger
from tests.migration.ledgers import record
from tests.migration.rollout.rolling import PLAN, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "shim.db")


def test_a_healthy_candidate_goes_all_the_way(world: World) -> None:
    """Stage by stage, each after its soak and with enough calls; at 100 % it is complete."""
    world.begin()
    for share in (0.01, 0.1):
        world.serve_well(share, 60_000)
        assert world.look(59) == "wait soaking"
        assert world.look(1) == "promote promote"
        assert world.look(5) == "wait soaking"
    world.serve_well(1.0)
    assert world.look(60) == "complete complete"
    assert world.look() == "end completed"
    assert world.dial.done == ["1 %", "10 %", "100 %", "100 %"]
    assert world.actions() == ["start", "promote", "promote", "complete"]


def test_time_alone_promotes_nothing(world: World) -> None:
    """After the soak without enough calls it is held, recorded once, until the harm is bounded below the margin."""
    world.begin()
    world.serve_well(0.01, 1000)
    assert [world.look(60), world.look(), world.look()] == ["hold harm"] * 3
    assert world.actions() == ["start", "hold"]
    world.serve_well(0.01, 30_000)
    assert world.look() == "promote promote"


def test_calls_alone_promote_nothing(world: World) -> None:
    """However many calls went well, a stage lasts as long as it was told to."""
    world.begin()
    world.serve_well(0.01, 10**6)
    assert world.look(59.9) == "wait soaking"


def test_calls_from_before_a_stage_do_not_count_for_it(world: World) -> None:
    """What happened while processes still followed to a stage says nothing about it."""
    world.controller.begin(PLAN, by="a test")
    world.look()
    world.serve_well(0.01, 10**6)
    assert world.look(5) == "wait soaking"
    assert world.look(60) == "hold harm"


@pytest.mark.parametrize("what", ["stale", "none", "silent"])
def test_missing_data_hold(world: World, what: str) -> None:
    """Data that are old, absent or incomplete promote nothing, whatever was counted before."""
    world.begin()
    world.serve_well(0.01, 60_000)
    assert world.look(30) == "wait soaking"
    world.tallies.age = {"stale": 31.0, "none": None, "silent": 0.0}[what]
    world.tallies.problem = "one machine is silent" if what == "silent" else None
    assert world.look(60) == ("hold stale" if what == "stale" else "hold no_data")
    world.tallies.age, world.tallies.problem = 0.0, None
    assert world.look() == "promote promote"


def test_nothing_begins_without_data(world: World) -> None:
    """While the counters cannot be read at all, no call gets the candidate."""
    world.controller.begin(PLAN, by="a test")
    world.tallies.problem = "out of reach"
    assert world.look() == "hold no_data"
    assert world.dial.done == []


def test_a_frozen_migration_is_held_until_it_is_resumed(world: World) -> None:
    """A freeze holds; after the resume the stage begins again, with its soak and its calls."""
    world.begin()
    world.serve_well(0.01, 60_000)
    world.store.decide(DecisionRecord(at=0, migration="m", action="freeze", by="guard", sentence="Odd."), due=False)
    assert world.look(60) == "hold frozen"
    world.store.release(DecisionRecord(at=0, migration="m", action="resume", by="an operator", sentence="Mended."))
    assert world.look() == "restart resumed"
    assert world.look() == "wait soaking"
    assert world.look(60) == "hold harm"


def test_a_rollback_by_the_guard_ends_it(world: World) -> None:
    """It ends at 0 %, and nothing begins or goes on by itself, not even when the guard is released."""
    world.begin()
    world.store.decide(DecisionRecord(at=0, migration="m", action="rollback", by="guard", sentence="Bad."), due=False)
    assert world.look() == "follow guard"
    assert world.dial.flag == FlagShown(enabled=False, exposure=Exposure(0))
    with pytest.raises(RolloutError, match="shim resume"):
        world.controller.begin(PLAN, by="a test")
    world.store.release(DecisionRecord(at=0, migration="m", action="resume", by="an operator", sentence="Mended."))
    world.serve_well(0.01, 10**6)
    assert [world.look(60), world.look(60)] == ["end rolled_back"] * 2


def test_harm_over_all_machines_rolls_back(world: World) -> None:
    """Failures that pile up on the candidate roll back, even while its processes still follow and while it is held."""
    world.begin()
    world.serve_well(0.01, 60_000)
    assert world.look(60) == "promote promote"
    world.controller.pause(by="a test")
    world.serve_well(0.01, 10_000)
    world.tallies.add(candidate_bad=12, legacy_bad=10)
    assert world.look(1) == "rollback evidence"
    assert not world.dial.flag.enabled
    assert world.store.statuses()["m"].tripped_by is not None
    assert world.store.statuses()["m"].carried_out


def test_on_one_machine_the_guard_alone_weighs(world: World) -> None:
    """Where the guard sees every call the controller does not judge the same calls a second time."""
    world.tallies.is_fleet = False
    world.begin()
    world.serve_well(0.01, 10_000)
    world.tallies.add(candidate_bad=20)
    assert world.look() == "wait soaking"


def test_calls_that_are_not_shared_out_as_intended_freeze(world: World) -> None:
    """Ten percent intended and two percent served is an alarm, recorded with both figures."""
    world.begin()
    world.serve_well(0.01, 60_000)
    world.look(60)
    world.look(5)
    world.serve_well(0.02)
    assert world.look(1) == "freeze sharing"
    assert world.look() == "hold frozen"
    [record] = [record for record in world.store.records("m") if record.action == "freeze"]
    assert "200 of 10000, which is 2.00 %" in record.sentence


def test_a_flag_that_was_set_elsewhere_holds(world: World) -> None:
    """What a person sets in the console is not overwritten; the rollout waits and says what it sees."""
    world.begin()
    world.dial.flag = FlagShown(enabled=True, exposure=Exposure(25))
    world.serve_well(0.01, 60_000)
    assert world.look(60) == "hold flag_changed"
    world.dial.flag = FlagShown(enabled=False, exposure=Exposure(1))
    assert world.look() == "hold flag_off"
    assert world.dial.done == ["1 %"]


@pytest.mark.parametrize(
    "shown",
    [FlagShown(enabled=False, exposure=Exposure(1)), FlagShown(enabled=True, exposure=Exposure(50))],
    ids=["off", "at 50 %"],
)
def test_calls_by_a_foreign_setting_prove_nothing(world: World, shown: FlagShown) -> None:
    """A flag that is off for a night, or at half of the calls for a test, is no wrong sharing and no evidence."""
    world.begin()
    world.serve_well(0.01, 60_000)
    ours, world.dial.flag = world.dial.flag, shown
    served = 0.5 if shown.enabled else 0.0
    held = "hold flag_changed" if shown.enabled else "hold flag_off"
    for _ in range(3):
        world.serve_well(served, 10_000)
        world.tallies.add(legacy_bad=20, candidate_bad=round(40 * served))
        assert world.look(5) == held
    world.dial.flag = ours
    world.serve_well(served, 1000)  # before every process has followed back
    assert world.look(1) == "wait soaking"
    world.serve_well(0.01, 10_000)
    assert world.look(60) == "promote promote"


def test_calls_from_before_the_first_stage_are_no_evidence(world: World) -> None:
    """Until every process has followed to it, it is unknown by which share its failures were shared out."""
    world.controller.begin(PLAN, by="a test")
    world.look()
    world.tallies.add(legacy=1000, candidate=1000, legacy_bad=20, candidate_bad=20)
    assert world.look(1) == "wait settling"
    assert world.look(5) == "wait soaking"


def test_a_manual_rollout_waits_for_a_word_each_time(world: World) -> None:
    """An approval counts for one step."""
    world.begin(replace(PLAN, manual=True))
    world.serve_well(0.01, 60_000)
    assert world.look(60) == "hold approval"
    world.controller.approve(by="an operator")
    assert world.look() == "promote promote"
    world.look(5)
    world.serve_well(0.1, 60_000)
    assert world.look(60) == "hold approval"


def test_pause_and_resume(world: World) -> None:
    """A paused rollout stays where it is, and goes on afterwards."""
    world.begin()
    world.serve_well(0.01, 60_000)
    world.controller.pause(by="an operator")
    assert world.look(60) == "hold paused"
    world.controller.resume(by="an operator")
    assert world.look() == "promote promote"


def test_an_abort_takes_it_back_at_once(world: World) -> None:
    """The flag is off with the reason and at 0 %, and the controller ends; there is nothing left to steer."""
    world.begin()
    world.controller.abort(because="too slow", by="an operator")
    assert world.dial.done[-1] == "closed: m was taken back to 0 % by an operator: too slow."
    assert world.look() == "end aborted"
    with pytest.raises(RolloutError, match="over"):
        world.controller.pause(by="an operator")


def test_some_calls_stay_on_legacy_until_it_is_completed(world: World) -> None:
    """With a hold-back the stage of 100 % sets 99 %, and compares, until an operator completes the rollout."""
    world.begin(replace(PLAN, stages=(Exposure(100),), hold_back=1))
    assert world.dial.done == ["99 %"]
    world.serve_well(0.99)
    assert world.look(60) == "hold held_back"
    world.controller.complete(by="an operator")
    assert world.look() == "complete complete"
    assert world.dial.done == ["99 %", "100 %"]
    world.begin()
    with pytest.raises(RolloutError, match="last stage"):
        world.controller.complete(by="an operator")


def test_one_instance_first(world: World) -> None:
    """The first stage may be one instance; its calls are compared with those of all others."""
    world.begin(replace(PLAN, stages=(Exposure(100, "web-1"), Exposure(1))))
    assert world.dial.done == ["100 % of instance web-1"]
    world.tallies.add(legacy=3000, candidate=1000, candidate_bad=1)
    assert world.look(60) == "promote promote"


def test_a_process_that_begins_again_is_counted_on(world: World) -> None:
    """Counters that fall to a smaller value, vanish or appear are counted as what they are: other processes."""
    world.tallies.add(legacy=500, candidate=500)
    world.begin()
    world.tallies.counts[Side.LEGACY, False] = 100
    rollout, _ = world.controller.look()
    assert (rollout.counts.legacy.calls, rollout.counts.candidate.calls) == (100, 0)


def test_a_process_that_is_seen_for_the_first_time_only_says_from_where_to_count() -> None:
    """It is unknown since when it has counted; a counter that it shows later began at 0."""

    def counter(source: str, value: float, *, bad: bool = False) -> CallCounter:
        return CallCounter(source=source, key=f"{bad}", side=Side.CANDIDATE, bad=bad, value=value)

    counts = StageCounts()
    for counters in ([counter("a", 500)], [counter("a", 510), counter("b", 900)], [counter("a", 1, bad=True)]):
        counts = counted(counts, CounterReading(counters=counters, age=0.0), probability=0.1, tallying=True)
    assert counts.candidate == CallTally(calls=11, bad=1)
    assert counts.last == {"a": {"False": 510, "True": 1}, "b": {"False": 900}}


def test_counters_that_are_followed_are_bounded() -> None:
    """When more counters than there is room for have come and gone, those that have gone are forgotten."""
    counts = StageCounts()
    for number in range(0, 3 * MAX_COUNTERS, 1000):
        pods = [
            CallCounter(source=f"pod-{number + one}", key="ok", side=Side.LEGACY, bad=False, value=1)
            for one in range(1000)
        ]
        counts = counted(counts, CounterReading(counters=pods, age=0.0), probability=None, tallying=True)
    assert len(counts.last) <= MAX_COUNTERS + 1000


def test_a_clock_that_was_set_back_makes_old_calls_no_news(tmp_path: Path) -> None:
    """A call that was over in an hour from now is as old as one of an hour ago: neither says that calls go on."""
    ledger = Ledger(tmp_path / "shim.db", now=lambda: 7200.0)
    record(ledger, None)
    assert ledger.flush()
    for now in (3600.0, 10_800.0):
        assert LedgerTallies(ledger, now=lambda: now).read("m").age == pytest.approx(3600.0)  # noqa: B023  # used at once


def test_a_new_rollout_may_follow(world: World) -> None:
    """While one is running there is no other; afterwards a new one begins with its first stage."""
    world.begin()
    with pytest.raises(RolloutError, match="is running"):
        world.controller.begin(PLAN, by="a test")
    world.controller.abort(because="-", by="an operator")
    world.begin()
    assert world.controller.rollout().phase is RolloutPhase.RUNNING


def test_a_step_is_computed_again_from_its_record(world: World) -> None:
    """Each record of a step leads to the same step, also one in the spelling of earlier versions."""
    world.begin()
    world.serve_well(0.01, 60_000)
    world.look(60)
    world.store.decide(DecisionRecord(at=0.0, migration="m", action="rollback", by="guard", sentence="Bad."))
    world.look(6)
    steps = [each for each in world.store.records("m") if each.is_of_rollout]
    assert [each.action for each in steps] == ["follow", "promote"]
    for step in steps:
        start = dict(step.start or {})
        seen = dict(start["seen"])  # type: ignore[call-overload]  # plain data
        earlier = {"latched_by" if name == "tripped_by" else name: value for name, value in seen.items()}
        for each in (seen, earlier):
            again = replay_step(start | {"seen": each})
            assert (again.move.value, again.reason, again.numbers) == (step.action, step.rule, step.numbers)
