"""Several processes with one file: forked, spawned, all at once, dying."""

from __future__ import annotations

import multiprocessing
import sqlite3
import time
from pathlib import Path

import pytest

from migration.guard import DecisionRecord, Guard, GuardStatus, GuardStore, replay_evidence
from migration.guard.worker import GuardWorker
from migration.model import Side, StoreError
from tests.migration.guard.making import bad
from tests.migration.guard.switching import Flags, ShareRouter, calls_until, work
from tests.migration.helpers import eventually, run_script
from tests.migration.ledgers import call

PROCESSES = 8
EACH = 25


@pytest.fixture
def store(tmp_path: Path) -> GuardStore:
    return GuardStore(tmp_path / "state" / "shim.db")


def _write(path: Path, number: int) -> None:
    # SQLite is not fair, and a busy machine is slow
    pytest.MonkeyPatch().setattr("migration.store.database.WRITE_TIMEOUT_SECONDS", 60.0)
    store = GuardStore(path)
    for _ in range(EACH):
        store.add_calls([("m", 0, bad(probability=0.1))], process=f"{number}")
        store.decide(DecisionRecord(at=0.0, migration="m", action="hold", by=f"{number}", sentence="Held."))


def test_many_processes_write_at_once(store: GuardStore) -> None:
    """Nothing is lost when all of them make the file and write to it at the same moment."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_write, args=(store.path, number)) for number in range(PROCESSES)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * PROCESSES
    assert len(store.calls_after(0, migration="m", epoch=0)) == PROCESSES * EACH
    assert len(store.records(limit=10_000)) == PROCESSES * EACH


FORKING = """
import os, sys
from pathlib import Path
from migration.guard import Guard, GuardStore
from tests.migration.guard.switching import ShareRouter, calls_until, work
store = GuardStore(Path(sys.argv[1]))
guard = Guard(ShareRouter(0.5), store=store)
call = work(guard, candidate_fails=0.05)
while guard.evidence("m") < 3:
    call()
known = guard.evidence("m")
guard._judging.acquire()  # as when another thread is in the middle of judging
child = os.fork()
if child == 0:
    failing = work(guard, candidate_fails=0.9)  # with a loop of its own
    failing()
    calls_until(lambda: guard.tripped, failing)
    guard.close()
    os._exit(0)
guard._judging.release()
_, status = os.waitpid(child, 0)
guard.close()
print(os.waitstatus_to_exitcode(status), store.statuses()["m"].tripped_by is not None, sorted(guard.tripped))
"""


def test_a_fork_in_the_middle_of_judging_does_not_stop_the_child(store: GuardStore) -> None:
    """The child judges by itself, with what the file knows, and its trip holds for all."""
    printed = run_script(FORKING, str(store.path))
    assert printed.split()[:2] == ["0", "True"]


FORKED_EVIDENCE = """
import os, sys, time
from pathlib import Path
from migration.guard import Guard, GuardStore
from tests.migration.guard.switching import ShareRouter, work
store = GuardStore(Path(sys.argv[1]))
guard = Guard(ShareRouter(0.5), store=store)
call = work(guard, candidate_fails=0.02, legacy_fails=0.02)
for _ in range(400):
    call()
child = os.fork()
if child:
    guard.close()  # only here what was seen before the fork is written down
    own = guard.evidence("m")
    _, status = os.waitpid(child, 0)
    print(own, os.waitstatus_to_exitcode(status))
else:
    time.sleep(1.5)
    guard.decide(type("Call", (), {"migration": "m"}))
    guard.evidence("m")
    time.sleep(2.5)
    Path(sys.argv[2]).write_text(str(guard.evidence("m")))
    os._exit(0)
"""


def test_what_was_seen_before_a_fork_counts_once(store: GuardStore, tmp_path: Path) -> None:
    """The child learns it from the file, and has not kept it besides."""
    own, code = run_script(FORKED_EVIDENCE, str(store.path), str(tmp_path / "child")).split()
    assert code == "0"
    assert float((tmp_path / "child").read_text()) == pytest.approx(float(own), rel=1e-9)
    assert float(own) != pytest.approx(1.0)


def test_all_processes_of_a_machine_decide_once(store: GuardStore) -> None:
    """The second process to reach a decision keeps no second record of it, and leaves the flag to the first."""
    first, second = Flags(), Flags()
    one, two = Guard(ShareRouter(0.1), store=store, switch=first), Guard(ShareRouter(0.1), store=store, switch=second)
    calls_until(lambda: one.tripped, work(one, candidate_fails=0.9))
    calls_until(lambda: two.tripped, work(two, candidate_fails=0.9))
    one.close()
    two.close()
    assert [record.action for record in store.records()].count("rollback") == 1
    assert [*first.done, *second.done].count(("off", "m")) == 1
    assert store.statuses()["m"].carried_out


def test_a_flag_left_by_a_dead_process_is_changed_by_a_running_one(
    store: GuardStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while in which the flag was not turned off, another process does it, with the same reason."""
    monkeypatch.setattr("migration.guard.worker.ROUND_SECONDS", 0.02)
    monkeypatch.setattr("migration.guard.flag_changes.TAKE_OVER_SECONDS", 0.2)
    flags = Flags()
    running = Guard(ShareRouter(0.1), store=store, switch=flags)
    work(running)()
    sentence = "m was rolled back: by a process that died."
    store.decide(DecisionRecord(at=0.0, migration="m", action="rollback", by="guard", sentence=sentence), due=True)
    assert eventually(lambda: ("off", "m") in flags.done)
    running.close()
    assert store.statuses()["m"].carried_out


def test_evidence_whose_process_died_before_its_ruling_is_ruled_on_at_the_next_start(store: GuardStore) -> None:
    """No call goes to the candidate meanwhile; the record says by which evidence, and can be computed again."""
    store.add_calls([("m", 0, bad(probability=0.1))] * 6, process="killed")
    flags = Flags()
    guard = Guard(ShareRouter(1.0), store=store, switch=flags)
    assert guard.tripped == {"m"}
    guard.close()
    [record] = store.records("m")
    assert (record.action, record.rule, flags.done) == ("rollback", "evidence", [("off", "m")])
    assert len(record.calls) == 6, "the record has the calls of the process that died"
    assert record.start is not None
    assert replay_evidence(record.start, record.calls)[-1] == record.numbers["evidence"]


def test_a_decision_that_comes_after_the_resume_is_void(store: GuardStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that could not write while the migration was resumed trips nothing by what it saw before."""
    monkeypatch.setattr("migration.guard.worker.ROUND_SECONDS", 0.02)
    store.decide(DecisionRecord(at=0.0, migration="m", action="rollback", by="guard", rule="evidence", sentence="Bad."))
    locked = _LockedStore(store.path)
    guard = Guard(ShareRouter(0.5), store=locked, switch=(flags := Flags()))
    guard.restart("m", epoch=0)  # as if it had not heard of the others yet
    calls_until(lambda: guard.tripped, work(guard, candidate_fails=0.9))
    assert eventually(lambda: ("off", "m") in flags.done)
    store.release(DecisionRecord(at=0.0, migration="m", action="resume", by="an operator", sentence="Mended."))
    locked.is_locked = False
    assert eventually(lambda: not guard.tripped)
    guard.close()
    assert store.statuses()["m"].tripped_by is None
    assert [record.action for record in store.records("m")] == ["resume", "rollback"]


class _LockedStore(GuardStore):
    """A file that can be read, and in which nothing can be decided until it is unlocked."""

    is_locked = True

    def decide_once(self, record: DecisionRecord, *, epoch: int | None = None, due: bool) -> tuple[int, bool]:
        if self.is_locked:
            raise StoreError(self.path, "database is locked")
        return super().decide_once(record, epoch=epoch, due=due)

    def statuses(self) -> dict[str, GuardStatus]:
        return {} if self.is_locked else super().statuses()


def test_a_resume_is_heard_after_the_file_was_moved_away(store: GuardStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has seen many resumes hears of the first one in the file that took the place of the old one."""
    monkeypatch.setattr("migration.guard.worker.ROUND_SECONDS", 0.02)
    for day in range(3):
        store.release(
            DecisionRecord(at=1e9 + 86_400 * day, migration="m", action="resume", by="an operator", sentence="Mended.")
        )
    guard = Guard(ShareRouter(0.5), store=store)
    calls_until(lambda: guard.tripped, work(guard, candidate_fails=0.9))
    assert eventually(lambda: store.statuses()["m"].tripped_by is not None)
    store.path.parent.rename(store.path.parent.with_name("moved"))
    store.release(DecisionRecord(at=2e9, migration="m", action="resume", by="an operator", sentence="Mended."))
    assert eventually(lambda: not guard.tripped)
    guard.close()


def test_a_start_with_a_memory_is_quiet(store: GuardStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread asks for nothing that a guard which is being made does not have yet."""
    store.decide(DecisionRecord(at=0.0, migration="m", action="freeze", by="a test", sentence="Odd."))
    known, told = GuardWorker.known_at_start, list[str]()

    def slow(worker: GuardWorker) -> list[str]:
        time.sleep(0.2)  # as on a busy machine
        return known(worker)

    monkeypatch.setattr(GuardWorker, "known_at_start", slow)
    monkeypatch.setattr("migration.guard.worker._log", lambda notice: told.append(notice.text))
    guard = Guard(ShareRouter(0.5), store=store)
    guard.close()
    assert told == []


def test_a_process_that_exits_at_once_has_written_everything(store: GuardStore) -> None:
    """Closing writes what waits, and turns the flag off: a command that rolls back and ends leaves nothing undone."""
    flags = Flags()
    guard = Guard(ShareRouter(0.5), store=store, switch=flags)
    calls_until(lambda: guard.tripped, work(guard, candidate_fails=0.9))
    seen = guard._judge("m").evidence.calls
    guard.close()
    assert len(store.calls_after(0, migration="m", epoch=0)) == seen
    assert store.statuses()["m"].carried_out
    assert ("off", "m") in flags.done


def test_a_file_of_another_program_is_left_alone(store: GuardStore) -> None:
    """It says what to do, trips all the same, and writes nothing there."""
    store.path.parent.mkdir()
    with sqlite3.connect(store.path) as database:
        database.execute("CREATE TABLE standings (name TEXT)")
        database.execute("PRAGMA user_version = 9")
    told: list[str] = []
    flags = Flags()
    guard = Guard(ShareRouter(0.5), store=store, switch=flags)
    guard.tell(lambda notice: told.append(notice.text))
    calls_until(lambda: guard.tripped, work(guard, candidate_fails=0.9))
    assert eventually(lambda: ("off", "m") in flags.done)
    guard.close()
    assert any("version 9" in text and "move it away" in text for text in told)
    with sqlite3.connect(store.path) as database:
        assert database.execute("SELECT count(*) FROM sqlite_master").fetchone() == (1,)


def test_a_file_of_a_newer_version_lets_legacy_serve(store: GuardStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is rolled back is unknown: until the file can be read legacy serves every call, and a sentence says why."""
    monkeypatch.setattr("migration.guard.worker.ROUND_SECONDS", 0.02)
    store.decide(DecisionRecord(at=0.0, migration="other", action="hold", by="a test", sentence="Held."))
    with sqlite3.connect(store.path) as database:
        [known] = database.execute("PRAGMA user_version").fetchone()
        database.execute(f"PRAGMA user_version = {known + 1}")
    told: list[str] = []
    guard = Guard(ShareRouter(1.0), store=store, switch=Flags())
    guard.tell(lambda notice: told.append(notice.text))
    decisions = [guard.decide(call()) for _ in range(20)]
    assert {decision.serve for decision in decisions} == {Side.LEGACY}
    assert all("update this program, and do not move the file" in str(decision.error) for decision in decisions)
    assert eventually(lambda: any("legacy serves until it can be" in text for text in told))
    with sqlite3.connect(store.path) as database:
        database.execute(f"PRAGMA user_version = {known}")
    assert eventually(lambda: guard.decide(call()).serve is Side.CANDIDATE)
    guard.close()


def test_a_full_disk_keeps_no_flag_on_and_the_record_is_written_later(
    store: GuardStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be written down is carried out all the same, and written when there is room again."""
    monkeypatch.setattr("migration.guard.worker.ROUND_SECONDS", 0.05)
    store.decide(DecisionRecord(at=0.0, migration="other", action="hold", by="a test", sentence="Held."))
    full = [True]
    really = sqlite3.connect

    def connect(*arguments: object, **options: object) -> sqlite3.Connection:
        database: sqlite3.Connection = really(*arguments, **options)  # type: ignore[call-overload]  # passed on
        if full[0]:
            pages = database.execute("PRAGMA page_count").fetchone()[0]
            database.execute(f"PRAGMA max_page_count = {pages}")
        return database

    monkeypatch.setattr("migration.store.database.sqlite3.connect", connect)
    flags, told = Flags(), list[str]()
    guard = Guard(ShareRouter(0.5), store=store, switch=flags)
    guard.tell(lambda notice: told.append(notice.text))
    call = work(guard, candidate_fails=0.9)
    calls_until(lambda: guard.tripped, call)
    assert eventually(lambda: ("off", "m") in flags.done)
    full[0] = False
    assert eventually(lambda: any(record.action == "rollback" for record in store.records("m")))
    guard.close()
    assert store.statuses()["m"].carried_out
