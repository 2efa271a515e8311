"""A change of a flag is tried until it holds, with bounded pauses, and another process takes it over."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest

from migration.guard import Action, DecisionRecord, FlagChanges, FlagGoneError, GuardStore, flag_changes


@dataclass
class HandSwitch:
    """A switch that raises what a test says, and counts its calls."""

    error: Exception | None = None
    done: list[str] = field(default_factory=list)

    def turn_off(self, migration: str, *, because: str) -> str:
        del because
        self.done.append(f"off {migration}")
        if self.error is not None:
            raise self.error
        return "off"

    def compare_more(self, migration: str, *, percent: int, because: str) -> None:
        del because
        self.done.append(f"{percent} % of {migration}")
        if self.error is not None:
            raise self.error


@dataclass
class Process:
    """One process with a clock that a test sets."""

    store: GuardStore
    switch: HandSwitch | None = field(default_factory=HandSwitch)
    clock: float = 0.0
    told: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.changes = FlagChanges(
            self.store,
            self.switch,
            tell=lambda migration, text: self.told.append(f"{migration}: {text}"),
            now=lambda: 1000.0,
            clock=lambda: self.clock,
        )

    def take_over(self) -> None:
        self.changes.take_over(self.store.statuses().values())
        self.changes.carry_on()


@pytest.fixture
def store(tmp_path: Path) -> GuardStore:
    return GuardStore(tmp_path / "shim.db")


def rollback(store: GuardStore | None = None) -> DecisionRecord:
    record = DecisionRecord(at=0.0, migration="m", action="rollback", by="guard", sentence="m was rolled back.")
    if store is not None:
        store.decide(record, due=True)
    return record


def test_pauses_double_up_to_the_longest(store: GuardStore) -> None:
    """While the flag is out of reach the pauses grow from 0.25 s to 5 s; the record says why, and it is told once."""
    process = Process(store, HandSwitch(ConnectionError("out of reach")))
    assert process.switch is not None
    process.changes.add(rollback(), Action.ROLLBACK, epoch=0)
    attempts = []
    for quarter in range(200):
        process.clock = quarter * flag_changes.FIRST_PAUSE
        before = len(process.switch.done)
        process.changes.carry_on()
        if len(process.switch.done) > before:
            attempts.append(process.clock)
    pauses = [after - before for before, after in pairwise(attempts)]
    assert pauses[:6] == [0.25, 0.5, 1.0, 2.0, 4.0, 5.0]
    assert set(pauses[5:]) == {flag_changes.LONGEST_PAUSE}
    assert len(process.told) == 1
    [record] = store.records("m")
    assert (record.problem, record.carried_out_at) == ("ConnectionError: out of reach", None)
    process.switch.error = None
    process.changes.carry_on(at_once=True)
    [record] = store.records("m")
    assert (record.problem, record.carried_out_at, record.flag_after) == (None, 1000.0, "off")
    assert store.statuses()["m"].carried_out


@pytest.mark.parametrize("action", [Action.ROLLBACK, Action.FREEZE])
def test_a_flag_that_is_gone_ends_it_with_a_sentence(store: GuardStore, action: Action) -> None:
    """There is nothing to change and legacy serves: one attempt, the record says so, and no process takes it over."""
    process = Process(store, HandSwitch(FlagGoneError("there is no flag m (any more)")))
    assert process.switch is not None
    record = DecisionRecord(at=0.0, migration="m", action=action.word, by="guard", sentence="m was decided on.")
    process.changes.add(record, action, epoch=0)
    for seconds in range(100):
        process.clock = float(seconds)
        process.take_over()
    assert len(process.switch.done) == 1
    assert process.told == ["m: there is no flag m (any more)"]
    assert store.records("m")[0].problem == "there is no flag m (any more)"
    assert store.statuses()["m"].carried_out
    other = Process(store)
    other.changes.take_over(store.statuses().values(), at_once=True)
    other.changes.carry_on()
    assert other.switch is not None
    assert other.switch.done == []


def test_what_another_process_left_is_taken_over_after_a_while(store: GuardStore) -> None:
    """Not before ten seconds, for it may be at it; a process that may change no flag leaves it to others."""
    rollback(store)
    process, powerless = Process(store), Process(store, None)
    assert process.switch is not None
    for seconds, done in ((0.0, []), (flag_changes.TAKE_OVER_SECONDS - 0.1, []), (10.0, ["off m"]), (30.0, ["off m"])):
        process.clock = powerless.clock = seconds
        powerless.take_over()
        process.take_over()
        assert process.switch.done == done
    assert store.statuses()["m"].carried_out


def test_without_a_store_the_flag_is_changed_all_the_same(tmp_path: Path) -> None:
    """What cannot be written down is applied, and nothing is tried again once it holds."""
    (tmp_path / "file").write_text("in the way")
    process = Process(GuardStore(tmp_path / "file" / "shim.db"))
    assert process.switch is not None
    process.changes.add(rollback(), Action.ROLLBACK, epoch=0)
    for _ in range(3):
        process.changes.apply()
    assert process.switch.done == ["off m"]


def test_a_resume_drops_what_is_pending(store: GuardStore) -> None:
    """A migration that was resumed keeps its flag as it is."""
    process = Process(store)
    assert process.switch is not None
    process.changes.add(rollback(), Action.ROLLBACK, epoch=0)
    process.changes.forget("m")
    process.changes.carry_on(at_once=True)
    assert process.switch.done == []
    assert store.records() == []


def test_a_change_for_another_decision_leaves_the_rollback_pending(store: GuardStore) -> None:
    """A promotion that reaches the flag while the guard rolls back does not pass for the rollback."""
    rollback(store)
    promotion = DecisionRecord(at=0.0, migration="m", action="promote", by="rollout", sentence="m goes to 10 %.")
    store.carried_out(store.decide(promotion), at=1.0, flag_after="10 %")
    assert not store.statuses()["m"].carried_out
    process = Process(store)
    process.changes.take_over(store.statuses().values(), at_once=True)
    process.changes.carry_on()
    assert store.statuses()["m"].carried_out
