"""The journal of one machine: what it promises to uploads and to recovery."""

from __future__ import annotations

import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from shim.primitives import process_lock
from tests.tools.journal.making import SECONDS, intent, opened
from tools.journal import sqlite, sqlite_tables
from tools.journal.port import Facts, Finished, Held, Opened, State, UploadSide
from tools.journal.sqlite import SqliteJournal

_DIES = """
import os, sys
from pathlib import Path
from shim.primitives import process_lock
from tests.tools.journal.making import intent, opened
from tools.journal.port import State
from tools.journal.sqlite import SqliteJournal
journal = SqliteJournal(Path(sys.argv[1]))
opened(journal, intent(upload_id="left"))
journal.note("left", State(sys.argv[2]))
journal.flush(5)
os._exit(0)
"""


@dataclass
class Clock:
    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def journal(tmp_path: Path, clock: Clock) -> SqliteJournal:
    return SqliteJournal(tmp_path / "home" / "journal.db", now=clock)


@pytest.fixture
def someone_dies(journal: SqliteJournal) -> Callable[[State], None]:
    """A process opens an upload called `left`, brings it to a state, and is gone."""

    def die(state: State) -> None:
        subprocess.run([sys.executable, "-c", _DIES, str(journal.path), state], check=True)  # noqa: S603  # our own program

    return die


def test_an_intent_is_there_as_it_was_given(journal: SqliteJournal) -> None:
    """Every field comes back, also a path that is no UTF-8; its owner is this process."""
    wanted = intent(path="/a/\udcff\n'\".txt", filename="\udcff.txt", side=UploadSide.ASYNC)
    assert opened(journal, wanted) == Opened()
    [entry] = journal.unfinished()
    assert (entry.intent, entry.state, entry.facts, entry.owner) == (wanted, State.INTENDED, Facts(), journal.owner)


def test_what_is_noted_adds_up(journal: SqliteJournal) -> None:
    """A step keeps what earlier ones brought to light."""
    wanted = intent()
    opened(journal, wanted)
    journal.note(wanted.upload_id, State.STORED, Facts(supabase_file_id="copy"))
    journal.note(wanted.upload_id, State.DELIVERED, Facts(provider_file_id="file", attempts=2))
    journal.flush(SECONDS)
    [entry] = journal.unfinished()
    assert entry.state is State.DELIVERED
    assert entry.facts == Facts(supabase_file_id="copy", provider_file_id="file", attempts=2)


@pytest.mark.parametrize(
    "other",
    [
        intent(b"other"),
        intent(provider="glm"),
        intent(account="http://127.0.0.1/v1"),
        intent(purpose="batch"),
    ],
    ids=["content", "provider", "account", "purpose"],
)
def test_one_content_is_claimed_once(journal: SqliteJournal, other: object) -> None:
    """The second upload is told who holds the claim, under whatever name; what differs in any part is another one."""
    first = intent()
    assert opened(journal, first) == Opened()
    again = intent(filename="other.txt", path="/other.txt", side=UploadSide.ASYNC)
    assert opened(journal, again) == Held(upload_id=first.upload_id, owner=journal.owner)
    assert opened(journal, other) == Opened()  # type: ignore[arg-type]  # an intent


@pytest.mark.parametrize("state", [State.DONE, State.UNKNOWN])
def test_a_file_serves_the_calls_that_it_overlapped(journal: SqliteJournal, clock: Clock, state: State) -> None:
    """A call in flight when the file was made is given it; who began later uploads again."""
    first = intent()
    opened(journal, first)
    journal.close(first.upload_id, state, Facts(provider_file_id="file"))
    clock.now += 10
    assert opened(journal, intent(), overlapping=10) == Finished(upload_id=first.upload_id, provider_file_id="file")
    assert opened(journal, intent(), overlapping=9) == Opened()


def test_a_failure_leaves_the_claim_to_the_next(journal: SqliteJournal) -> None:
    """Who waited for an upload that failed makes the next attempt himself."""
    first = intent()
    opened(journal, first)
    journal.close(first.upload_id, State.FAILED, Facts(error="ServerFailedError"))
    assert opened(journal, intent(), overlapping=100) == Opened()


@pytest.mark.parametrize("state", [State.INTENDED, State.STORED, State.SENDING, State.DELIVERED])
def test_the_claim_of_a_dead_process_holds_nobody_up(
    journal: SqliteJournal, someone_dies: Callable[[State], None], state: State
) -> None:
    """The next upload of the content has the claim at once, and the dead one's intent is left to recovery."""
    someone_dies(state)
    assert opened(journal, intent(upload_id="next")) == Opened()
    left, following = journal.unfinished()
    assert (left.intent.upload_id, left.state, left.owner) == ("left", State.ABANDONED, None)
    assert (following.intent.upload_id, following.owner) == ("next", journal.owner)


def test_recovery_takes_over_what_nobody_works_on(
    journal: SqliteJournal, someone_dies: Callable[[State], None]
) -> None:
    """One of those who try gets it, with what is known of it, and keeps it until it is closed or given back."""
    someone_dies(State.SENDING)
    taken = journal.take_over("left")
    assert taken is not None
    assert taken.state is State.SENDING
    assert isinstance(opened(journal, intent()), Held)
    assert journal.take_over("left") is None
    journal.release("left")
    assert journal.take_over("left") is not None
    journal.close("left", State.DONE, Facts(provider_file_id="adopted"))
    assert journal.take_over("left") is None
    assert journal.unfinished() == []


def test_nobody_takes_over_from_the_living(journal: SqliteJournal) -> None:
    """What is in flight stays its owner's; what was closed without a known outcome is free."""
    wanted = intent()
    opened(journal, wanted)
    assert journal.take_over(wanted.upload_id) is None
    journal.close(wanted.upload_id, State.UNKNOWN)
    assert journal.take_over(wanted.upload_id) is not None
    assert journal.take_over("no such upload") is None


def test_who_lost_an_upload_changes_nothing(journal: SqliteJournal, someone_dies: Callable[[State], None]) -> None:
    """Notes about an upload of another owner are not written."""
    someone_dies(State.SENDING)
    journal.note("left", State.DELIVERED, Facts(provider_file_id="wrong"))
    journal.close("left", State.DONE)
    journal.flush(SECONDS)
    [entry] = journal.unfinished()
    assert (entry.state, entry.facts) == (State.SENDING, Facts())


def test_the_figures(journal: SqliteJournal, clock: Clock, someone_dies: Callable[[State], None]) -> None:
    """In flight, left by the dead, unknown, and what went on without the journal."""
    someone_dies(State.STORED)
    opened(journal, intent(b"one"))
    opened(journal, intent(b"two", upload_id="two"))
    journal.close("two", State.UNKNOWN)
    journal.count_unjournaled()
    journal.count_unjournaled()
    status = journal.status()
    assert (status.in_flight, status.left, status.unknown) == (1, 1, 1)
    assert (status.unjournaled, status.last_unjournaled_at) == (2, clock.now)
    assert str(journal.path) in status.backend


def test_looking_makes_no_file(journal: SqliteJournal) -> None:
    """Asking alone leaves no trace."""
    assert journal.unfinished() == []
    assert journal.status().in_flight == 0
    assert journal.flush(SECONDS)
    assert not journal.path.parent.exists()


def test_the_files_are_their_owners_alone(journal: SqliteJournal) -> None:
    """0600 in a folder of 0700."""
    opened(journal, intent())
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in journal.path.parent.iterdir()}
    assert {"journal.db", "journal.db-wal", "journal.owners"} <= set(modes)
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(journal.path.parent.stat().st_mode) == 0o700


def test_finished_uploads_are_forgotten(journal: SqliteJournal, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an hour, or when there are too many; what is unresolved stays for ever."""
    monkeypatch.setattr(sqlite, "FORGET_EVERY", 10)
    monkeypatch.setattr(sqlite_tables, "KEPT_UPLOADS", 15)
    opened(journal, intent(b"unknown", upload_id="unknown"))
    journal.close("unknown", State.UNKNOWN)
    for number in range(39):
        clock.now += 1
        opened(journal, intent(b"%d" % number, upload_id=str(number)))
        journal.close(str(number), State.DONE)
    assert _count(journal) == 16
    clock.now += sqlite_tables.KEPT_SECONDS
    for number in range(10):
        opened(journal, intent(b"%d" % number, upload_id=f"later {number}"))
        journal.close(f"later {number}", State.FAILED)
    assert _count(journal) == 11
    assert [entry.intent.upload_id for entry in journal.unfinished()] == ["unknown"]


def _count(journal: SqliteJournal) -> int:
    counted: int = journal._answer(
        lambda database: database.execute("SELECT count(*) FROM upload_intents").fetchone()[0]
    )
    return counted


def test_a_process_is_one_owner_whoever_asks_first(tmp_path: Path) -> None:
    """Threads that ask at the same moment are told one name: under a second one, its own claims would seem dead."""
    for attempt in range(30):
        path, ready = tmp_path / f"{attempt}.owners", threading.Barrier(4)

        def ask(path: Path = path, ready: threading.Barrier = ready) -> int:
            ready.wait()
            return process_lock(path).number

        with ThreadPoolExecutor(4) as pool:
            assert len({asked.result() for asked in [pool.submit(ask) for _ in range(4)]}) == 1
