"""The guard of a process: it sees, it trips, it rolls back for everybody, and it never hurts a call."""

from __future__ import annotations

import multiprocessing
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from migration import Migration, Runtime, migrate
from migration.guard import ROLLBACK_AT, Action, DecisionRecord, Guard, GuardStore, Rule, replay_evidence
from tests.migration.guard.switching import Flags, ShareRouter, calls_until, work
from tests.migration.helpers import eventually


@pytest.fixture
def store(tmp_path: Path) -> GuardStore:
    return GuardStore(tmp_path / "state" / "shim.db")


@contextmanager
def guarding(store: GuardStore, flags: Flags | None = None, *, share: float = 0.1) -> Iterator[Guard]:
    guard = Guard(ShareRouter(share), store=store, switch=flags)
    try:
        yield guard
    finally:
        guard.close()


def test_a_faulty_candidate_is_rolled_back_for_everybody(store: GuardStore, say: Callable[[str], None]) -> None:
    """A candidate that fails three times in ten is tripped in this process, its flag is turned off, a record stands."""
    flags = Flags()
    with guarding(store, flags) as guard:
        call = work(guard, legacy_fails=0.01, candidate_fails=0.3)
        needed = calls_until(lambda: guard.tripped, call)
        harmed = [call() for _ in range(2000)].count(False)
        assert eventually(lambda: ("off", "m") in flags.done)
        assert eventually(lambda: "m" in store.statuses() and store.statuses()["m"].carried_out)
    say(f"rolled back after {needed} calls at 10 %; afterwards {harmed} of 2000 failed, as legacy's do")
    assert harmed < 60
    record = store.records()[0]
    assert (record.action, record.flag_before, record.flag_after) == ("rollback", "v1", "v2")
    assert "m was rolled back" in record.sentence


def test_a_candidate_that_ends_its_callers_is_rolled_back(store: GuardStore) -> None:
    """What is no `Exception`, such as a panic of a compiled library, fails a call as well; Ctrl-C does not."""

    class Panic(BaseException):
        pass

    async def panics() -> None:
        raise Panic

    async def is_interrupted() -> None:
        raise KeyboardInterrupt

    for name, candidate in (("m", panics), ("n", is_interrupted)):
        with guarding(store, share=0.5) as guard:

            @migrate(Migration(name=name, candidate=candidate), runtime=Runtime(router=guard, observers=[guard]))
            def legacy() -> None:
                """Nothing to do."""

            for _ in range(60):
                with suppress(Panic, KeyboardInterrupt):
                    legacy()
            assert (name in guard.tripped) == (name == "m")


def test_both_sides_failing_alike_are_left_alone(store: GuardStore) -> None:
    """An incident that hits both sides, however bad, rolls nothing back."""
    flags = Flags()
    with guarding(store, flags) as guard:
        call = work(guard, legacy_fails=0.5, candidate_fails=0.5)
        for _ in range(3000):
            call()
        assert not guard.tripped
    assert ("off", "m") not in flags.done


def test_a_record_can_be_reached_again(store: GuardStore) -> None:
    """The calls of a record lead to the very evidence that was decided upon."""
    with guarding(store, Flags()) as guard:
        calls_until(lambda: guard.tripped, work(guard, candidate_fails=0.5))
    rollback = next(record for record in store.records() if record.action == "rollback")
    assert rollback.start is not None
    assert replay_evidence(rollback.start, rollback.calls)[-1] == pytest.approx(
        float(rollback.numbers["evidence"]), rel=1e-9
    )


def test_what_is_rolled_back_stays_so_in_the_next_process(store: GuardStore) -> None:
    """A guard that starts finds what was rolled back before, and serves legacy from its first call on."""
    with guarding(store, Flags()) as guard:
        calls_until(lambda: guard.tripped, work(guard, candidate_fails=0.5))
    with guarding(store, Flags()) as again:
        assert again.tripped == {"m"}
        assert all(work(again, candidate_fails=1.0)() for _ in range(300))


def test_only_a_human_lets_it_go_on(store: GuardStore) -> None:
    """A release reaches running processes: the router decides again, and the evidence begins with nothing."""
    with guarding(store, Flags()) as guard:
        call = work(guard, candidate_fails=0.5)
        calls_until(lambda: guard.tripped, call)
        assert eventually(lambda: "m" in store.statuses() and store.statuses()["m"].tripped_by is not None)
        store.release(DecisionRecord(at=0.0, migration="m", action="resume", by="an operator", sentence="Mended."))
        assert eventually(lambda: not guard.tripped)
        assert guard.evidence("m") == pytest.approx(1.0)
        calls_until(lambda: guard.tripped, call)


def test_flags_out_of_reach_are_tried_until_they_change(store: GuardStore) -> None:
    """While the flags cannot be reached the trip holds here, and the change is made as soon as it can be."""
    flags = Flags(unreachable=3)
    with guarding(store, flags) as guard:
        calls_until(lambda: guard.tripped, work(guard, candidate_fails=0.9))
        assert eventually(lambda: ("off", "m") in flags.done, seconds=20)
        assert eventually(lambda: "m" in store.statuses() and store.statuses()["m"].carried_out)


def test_a_flag_that_was_never_changed_is_changed_by_the_next_process(store: GuardStore) -> None:
    """A process that dies before it could turn the flag off leaves that to the next one that has a call."""
    with guarding(store, Flags(unreachable=10**6)) as guard:
        calls_until(lambda: guard.tripped, work(guard, candidate_fails=0.9))
        assert eventually(lambda: "m" in store.statuses() and not store.statuses()["m"].carried_out)
    flags = Flags()
    with guarding(store, flags) as guard:
        assert not eventually(lambda: bool(flags.done), seconds=0.2)
        work(guard)()
        assert eventually(lambda: ("off", "m") in flags.done)


def test_evidence_outlives_the_process(store: GuardStore) -> None:
    """Failures that a process saw before it ended count in the next one, so a restart is no way out."""
    with guarding(store, Flags(), share=0.5) as guard:
        call = work(guard, candidate_fails=0.05)
        calls_until(lambda: guard.evidence("m") > 3, call)
        seen = guard.evidence("m")
    with guarding(store, Flags(), share=0.5) as again:
        assert again.evidence("m") == pytest.approx(seen, rel=1e-9)


def test_a_memory_that_cannot_be_kept_does_not_stop_the_guard(tmp_path: Path) -> None:
    """Where nothing can be written the guard says so, trips all the same, and turns the flag off."""
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    flags = Flags()
    with guarding(GuardStore(blocked / "shim.db"), flags) as guard:
        told: list[str] = []
        guard.tell(lambda notice: told.append(notice.text))
        calls_until(lambda: guard.tripped, work(guard, candidate_fails=0.9))
        assert eventually(lambda: ("off", "m") in flags.done)
        assert any("cannot be used" in text for text in told)


def test_a_garbled_memory_rolls_nothing_back_and_is_told(store: GuardStore) -> None:
    """A file that is no database keeps no caller from being served; the commands say what is wrong with it."""
    store.path.parent.mkdir()
    store.path.write_bytes(b"garbage" * 1000)
    with guarding(store, Flags()) as guard:
        assert all(work(guard)() for _ in range(50))


def _see_failures(path: Path, share: float) -> None:
    guard = Guard(ShareRouter(share), store=GuardStore(path))
    call = work(guard, candidate_fails=0.9)
    for _ in range(60):
        call()
    guard.close()


def test_processes_learn_from_each_other(store: GuardStore) -> None:
    """What one process has seen counts in another of the same machine, and its trip holds there too."""
    with guarding(store, Flags()) as guard:
        work(guard)()
        other = multiprocessing.get_context("spawn").Process(target=_see_failures, args=(store.path, 0.1))
        other.start()
        other.join()
        assert eventually(lambda: "m" in guard.tripped)


def test_a_guard_that_breaks_changes_nothing_for_callers(store: GuardStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """If judging itself fails, calls are served as decided, and the failures are counted as an observer's."""
    with guarding(store, Flags(), share=1.0) as guard:
        monkeypatch.setattr(guard, "_finished", None)
        runtime = Runtime(router=guard, observers=[guard])
        call = work(guard, runtime=runtime)
        assert all(call() for _ in range(20))
        assert runtime.observers.failures == {"Guard: TypeError": 20}


def test_the_file_is_private_and_bounded(store: GuardStore) -> None:
    """The guard's file is 0600 in a 0700 folder."""
    with guarding(store, Flags()) as guard:
        calls_until(lambda: guard.tripped, work(guard, candidate_fails=0.9))
        assert eventually(lambda: store.statuses().get("m") is not None)
    assert store.path.stat().st_mode & 0o777 == 0o600
    assert store.path.parent.stat().st_mode & 0o777 == 0o700
    with sqlite3.connect(store.path) as database:
        assert database.execute("SELECT count(*) FROM records").fetchone()[0] >= 1


def test_what_there_is_to_be_measured(store: GuardStore) -> None:
    """The figures say what speaks against a candidate, what is rolled back, and which rules decided how often."""
    with guarding(store, Flags()) as guard:
        call = work(guard, candidate_fails=0.5)
        call()
        before = guard.figures()
        calls_until(lambda: guard.tripped, call)
        after = guard.figures()
    assert before.tripped == frozenset()
    assert after.tripped == {"m"}
    assert after.evidence["m"] >= ROLLBACK_AT
    assert after.rulings["m", Rule.EVIDENCE, Action.ROLLBACK] == 1
    assert after.memory_limit is None
