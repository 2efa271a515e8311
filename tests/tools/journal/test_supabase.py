"""The shared journal, against a real PostgreSQL and against the sandbox."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tools.journal.supabase_making import (
    ANSWER_SECONDS,
    Project,
    awaited,
    eventually,
    intent,
    journal_of,
    opened,
    real_project,
    sandbox_project,
)
from tools.journal import supabase_remote
from tools.journal.port import Facts, Finished, Held, Opened, State
from tools.journal.supabase import SupabaseJournal


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is slow, and no test here is to be content with SQLite."""
    monkeypatch.setattr(supabase_remote, "OPEN_SECONDS", 60)


@pytest.fixture(params=["real", "sandbox"])
def project(request: pytest.FixtureRequest) -> Project:
    if request.param == "real":
        return real_project(request.getfixturevalue("supabase_tables"))
    return sandbox_project(request.getfixturevalue("sandbox"))


@pytest.fixture
def journal(project: Project, tmp_path: Path) -> Iterator[SupabaseJournal]:
    with journal_of(project, tmp_path / "here") as journal:
        yield journal


@pytest.fixture
def elsewhere(project: Project, tmp_path: Path) -> Iterator[SupabaseJournal]:
    with journal_of(project, tmp_path / "elsewhere") as journal:
        yield journal


def test_an_upload_stands_in_the_table_from_its_intent_to_its_end(
    journal: SupabaseJournal, elsewhere: SupabaseJournal
) -> None:
    """What one machine writes down, another one reads: state, facts, owner, and a lease that has begun."""
    wanted, began = intent(filename="Bericht \\ 'x'.txt", path="/srv/Bericht\udcff \\u0041.txt"), time.monotonic()
    assert opened(journal, wanted) == Opened()
    journal.note(wanted.upload_id, State.STORED, Facts(supabase_file_id="object-1"))
    journal.note(wanted.upload_id, State.SENDING)
    assert journal.flush(5)
    [entry] = elsewhere.unfinished()
    assert (entry.intent.filename, entry.intent.path) == (wanted.filename, wanted.path)
    assert (entry.state, entry.facts) == (State.SENDING, Facts(supabase_file_id="object-1"))
    assert (entry.owner, entry.finished_at) == (journal.owner, None)
    assert entry.lease_until is not None
    assert 50 < entry.lease_until - entry.intent.began_at <= 61 + (time.monotonic() - began)
    journal.close(wanted.upload_id, State.DONE, Facts(provider_file_id="file-1", attempts=1))
    assert journal.flush(5)
    assert elsewhere.unfinished() == []


def test_a_content_is_claimed_once_by_all_machines(journal: SupabaseJournal, elsewhere: SupabaseJournal) -> None:
    """The second upload of a content is told who holds it; another account, purpose or content is free."""
    wanted = intent()
    assert opened(journal, wanted) == Opened()
    assert opened(elsewhere, intent()) == Held(upload_id=wanted.upload_id, owner=journal.owner)
    others = (intent("b" * 64), intent(purpose="vision"), intent(account="http://127.0.0.1/v1"), intent(provider="glm"))
    assert [opened(elsewhere, other) for other in others] == [Opened()] * 4


@pytest.mark.parametrize("state", [State.DONE, State.UNKNOWN])
def test_who_waited_gets_the_file_of_the_one_that_held_the_claim(
    journal: SupabaseJournal, elsewhere: SupabaseJournal, state: State
) -> None:
    """The file of an upload that ended while a call was in flight is that call's, too, on every machine."""
    wanted, waiting, begun_before = intent(), intent(), intent()
    assert opened(journal, wanted) == Opened()
    assert isinstance(opened(elsewhere, waiting), Held)
    journal.note(wanted.upload_id, State.DELIVERED, Facts(provider_file_id="file-1"))
    journal.close(wanted.upload_id, state)
    assert journal.flush(5)
    finished = Finished(upload_id=wanted.upload_id, provider_file_id="file-1")
    assert awaited(elsewhere, waiting, overlapping=1) == finished
    assert opened(elsewhere, begun_before, overlapping=30) == finished
    assert journal.unfinished() == [] or state is State.UNKNOWN
    assert opened(journal, begun_before, overlapping=30) == finished


def test_a_later_call_uploads_again(journal: SupabaseJournal, elsewhere: SupabaseJournal) -> None:
    """A call that began after an upload had ended gets nothing of it, neither here nor on another machine."""
    wanted, next_one = intent(), intent()
    assert opened(journal, wanted) == Opened()
    journal.close(wanted.upload_id, State.DONE, Facts(provider_file_id="file-1"))
    assert opened(journal, next_one) == Opened()
    journal.close(next_one.upload_id, State.DONE, Facts(provider_file_id="file-2"))
    assert journal.flush(ANSWER_SECONDS)
    # another machine may take what ended within the time that its own question took for what ended meanwhile
    assert eventually(lambda: opened(elsewhere, intent()) == Opened())


def test_after_a_failure_who_waited_claims_the_content(journal: SupabaseJournal, elsewhere: SupabaseJournal) -> None:
    """A failed upload leaves no file, so the next one sends."""
    wanted, waiting = intent(), intent()
    opened(journal, wanted)
    assert isinstance(opened(elsewhere, waiting), Held)
    journal.close(wanted.upload_id, State.FAILED, Facts(error="ConnectError"))
    assert journal.flush(5)
    assert awaited(elsewhere, waiting, overlapping=1) == Opened()


def test_a_lease_is_renewed_while_its_owner_lives(project: Project, tmp_path: Path) -> None:
    """A claim outlasts its lease as long as its process beats, and not longer."""
    project.set_lease(2)
    with (
        journal_of(project, tmp_path / "a", heartbeat=0.3) as journal,
        journal_of(project, tmp_path / "b") as elsewhere,
    ):
        wanted = intent()
        opened(journal, wanted)
        began = journal.unfinished()[0].lease_until or 0
        assert eventually(lambda: (journal.unfinished()[0].lease_until or 0) > began + 2)
        assert isinstance(opened(elsewhere, intent()), Held)
        journal.stop()  # as if the machine were gone
        assert eventually(lambda: opened(elsewhere, intent()) == Opened())
        states = {entry.intent.upload_id: entry.state for entry in elsewhere.unfinished()}
        assert states[wanted.upload_id] is State.ABANDONED


def test_an_upload_that_nobody_works_on_is_taken_over_once(
    journal: SupabaseJournal, elsewhere: SupabaseJournal
) -> None:
    """An unresolved upload gets one owner; it stays that one's until it is given back."""
    wanted = intent()
    opened(journal, wanted)
    assert elsewhere.take_over(wanted.upload_id) is None
    journal.close(wanted.upload_id, State.UNKNOWN, Facts(attempts=2))
    assert journal.flush(5)
    taken = elsewhere.take_over(wanted.upload_id)
    assert taken is not None
    assert (taken.state, taken.facts.attempts, taken.owner) == (State.UNKNOWN, 2, elsewhere.owner)
    assert journal.take_over(wanted.upload_id) is None
    elsewhere.release(wanted.upload_id)
    assert elsewhere.flush(5)
    assert journal.take_over(wanted.upload_id) is not None
    journal.close(wanted.upload_id, State.DONE, Facts(provider_file_id="file-1"))
    assert journal.flush(5)
    assert elsewhere.take_over(wanted.upload_id) is None


def test_who_took_an_upload_over_may_give_only_its_claim_up(
    project: Project, journal: SupabaseJournal, tmp_path: Path
) -> None:
    """The content can be claimed again, while the upload stays its owner's, who writes how it ended."""
    left, repeated = intent(), intent()
    project.set_lease(1)
    with journal_of(project, tmp_path / "dead") as dead:
        opened(dead, left)
        dead.stop()  # as if the machine were gone
    project.set_lease(60)
    assert eventually(lambda: journal.take_over(left.upload_id) is not None)
    journal.note(left.upload_id, State.ABANDONED)
    assert awaited(journal, repeated) == Opened()
    owners = {entry.intent.upload_id: entry.owner for entry in journal.unfinished()}
    assert owners == {left.upload_id: journal.owner, repeated.upload_id: journal.owner}
    journal.close(left.upload_id, State.DONE, Facts(provider_file_id="file-1"))
    assert journal.flush(5)
    assert [entry.intent.upload_id for entry in journal.unfinished()] == [repeated.upload_id]


def test_the_figures_are_those_of_all_machines(journal: SupabaseJournal, elsewhere: SupabaseJournal) -> None:
    """Status counts what is in flight and what is unresolved, on all machines."""
    running, unknown = intent(), intent("b" * 64)
    opened(journal, running)
    opened(journal, unknown)
    journal.close(unknown.upload_id, State.UNKNOWN)
    assert journal.flush(5)
    status = elsewhere.status()
    assert (status.in_flight, status.left, status.unknown, status.notice) == (1, 0, 1, None)
    assert status.backend.startswith("Supabase, http")
