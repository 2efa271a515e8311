"""What the shared journal does when its database is away, has no table, or refuses the key."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.supabase import SupabaseTables
from tests.tools.journal.supabase_making import eventually, intent, journal_of, opened, real_project, sandbox_project
from tools.journal import supabase_client, supabase_remote, supabase_writing
from tools.journal.port import Facts, Held, Opened, State
from tools.journal.sqlite import SqliteJournal
from tools.journal.supabase import SupabaseJournal
from tools.sandbox import FaultKind, RunningSandbox


def _warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name.startswith("tools.journal")]


def test_uploads_go_on_while_the_database_is_away_and_it_learns_of_them_later(
    supabase_tables: SupabaseTables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With the database gone in mid-run SQLite has the new uploads; what the old ones came to is written afterwards."""
    monkeypatch.setattr(supabase_remote, "AWAY_SECONDS", 0.5)
    monkeypatch.setattr(supabase_remote, "OPEN_SECONDS", 60)
    with journal_of(real_project(supabase_tables), tmp_path / "here", heartbeat=0.2) as journal:
        before, during = intent(), intent("b" * 64)
        assert opened(journal, before) == Opened()
        supabase_tables.stop()
        try:
            journal.note(before.upload_id, State.DELIVERED, Facts(provider_file_id="file-1"))
            assert opened(journal, during) == Opened()
            assert opened(journal, intent("b" * 64)) == Held(upload_id=during.upload_id, owner=_locally(journal))
            journal.close(before.upload_id, State.DONE)
            journal.close(during.upload_id, State.DONE, Facts(provider_file_id="file-2"))
            assert not journal.flush(1)
            notice = journal.status().notice
            assert notice is not None
            assert "SQLite on this machine is the journal" in notice
        finally:
            supabase_tables.start()
        question = "select state, provider_file_id from upload_intents"
        assert eventually(lambda: supabase_tables.database.run(question) == "done|file-1")
        assert journal.status().notice is None
        said = _warnings(caplog)
        assert ["until it can, SQLite" in said[0], said[1].endswith("again"), len(said)] == [True, True, 2]
        assert supabase_tables.key not in caplog.text


def _locally(journal: SupabaseJournal) -> str:
    return journal._local.owner


def test_without_the_table_sqlite_serves_and_that_is_said_once(
    supabase_tables: SupabaseTables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A project without the journal's tables is asked once a minute; once they are, it is used."""
    monkeypatch.setattr(supabase_remote, "OPEN_SECONDS", 60)
    supabase_tables.stop()
    supabase_tables.database.run("drop table upload_intents")
    try:
        supabase_tables.start()
        with journal_of(real_project(supabase_tables), tmp_path / "here", heartbeat=0.2) as journal:
            first = intent()
            second = intent("b" * 64, began_at=first.began_at + 1)  # SQLite keeps the time that it is given
            assert [opened(journal, first), opened(journal, second)] == [Opened(), Opened()]
            assert journal.take_over("nobody's") is None
            assert journal.unfinished()[0].intent.upload_id == first.upload_id
            assert "upload_intents" in str(journal.status().notice)
            [said] = _warnings(caplog)
            assert "PGRST205" in said
            supabase_tables.stop()
            supabase_tables.migrate()
            supabase_tables.start()
            monkeypatch.setattr(journal._running().remote, "_rest_until", 0.0)  # the minute is over
            assert opened(journal, intent("c" * 64)) == Opened()
            assert supabase_tables.database.run("select count(*) from upload_intents") == "1"
    finally:
        supabase_tables.migrate()
        supabase_tables.stop()
        supabase_tables.start()


def test_only_the_service_role_gets_in(supabase_tables: SupabaseTables, tmp_path: Path) -> None:
    """With the key that browsers have, nothing of the journal can be read or written."""
    stranger = SupabaseJournal(
        url=supabase_tables.url, key=supabase_tables.public_key, local=SqliteJournal(tmp_path / "journal.db")
    )
    with journal_of(real_project(supabase_tables), tmp_path / "here") as journal:
        assert opened(journal, intent()) == Opened()
        seen = stranger.unfinished()
        assert opened(stranger, intent("b" * 64)) == Opened()
        assert journal.flush(5)
        assert supabase_tables.database.run("select count(*) from upload_intents") == "1"
    stranger.stop()
    assert seen == []


@pytest.mark.parametrize("kind", [FaultKind.HANG, FaultKind.DROP_AFTER_COMMIT, FaultKind.SERVER_ERROR])
def test_a_claim_in_doubt_is_withdrawn(
    sandbox: RunningSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: FaultKind
) -> None:
    """When it is not known whether a claim was made, SQLite has the upload, and the table is rid of it soon."""
    monkeypatch.setattr(supabase_remote, "OPEN_SECONDS", 0.5)
    monkeypatch.setattr(supabase_remote, "AWAY_SECONDS", 0.2)
    monkeypatch.setattr(supabase_client, "POLICY", replace(supabase_client.POLICY, attempts=1))
    sandbox.inject(kind, "supabase", "intents.insert", times=1)
    with journal_of(sandbox_project(sandbox), tmp_path / "here", heartbeat=0.1) as journal:
        wanted = intent()
        assert opened(journal, wanted) == Opened()
        assert [entry.intent.upload_id for entry in journal._local.unfinished()] == [wanted.upload_id]
        sandbox.wait_for_requests("supabase", "intents.delete")
        assert eventually(lambda: sandbox.state()["supabase"]["upload_intents"] == [])


def test_a_kept_connection_that_the_server_closed_is_no_failure(sandbox: RunningSandbox, tmp_path: Path) -> None:
    """A request whose answer got lost with its connection is asked again; a claim that stands there is one's own."""
    sandbox.inject(FaultKind.DROP_AFTER_COMMIT, "supabase", "intents.insert", times=1)
    with journal_of(sandbox_project(sandbox), tmp_path / "here") as journal:
        assert opened(journal, intent()) == Opened()
        assert journal._local.unfinished() == []
        [row] = sandbox.state()["supabase"]["upload_intents"]
        assert row["owner"] == journal.owner


def test_many_threads_that_want_one_content_cost_one_claim(sandbox: RunningSandbox, tmp_path: Path) -> None:
    """Within a process, who claims what is known without asking the database."""
    with journal_of(sandbox_project(sandbox), tmp_path / "here") as journal:
        openings = [journal.open(intent(), overlapping=0) for _ in range(200)]
        kinds = [type(opening.result(20)) for opening in openings]
        assert (kinds.count(Opened), kinds.count(Held)) == (1, 199)
        assert len(sandbox.requests("supabase", "intents.insert")) == 1


def test_leases_are_renewed_a_hundred_at_once(
    sandbox: RunningSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many uploads in flight are kept alive by few requests."""
    monkeypatch.setattr(supabase_writing, "RENEWED_AT_ONCE", 3)
    with journal_of(sandbox_project(sandbox), tmp_path / "here", heartbeat=0.1) as journal:
        for number in range(7):
            assert opened(journal, intent(f"{number:064x}")) == Opened()
        before = len(sandbox.requests("supabase", "intents.update"))
        sandbox.wait_for_requests("supabase", "intents.update", at_least=before + 3)
        renewals = [request["query"] for request in sandbox.requests("supabase", "intents.update")[-3:]]
        assert all(query.count("%2C") + query.count(",") <= 3 for query in renewals)


def test_more_uploads_than_can_be_followed_are_sqlites(
    sandbox: RunningSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bound on uploads in the table holds, and no upload is refused for it."""
    monkeypatch.setattr(supabase_remote, "MAX_OPEN", 2)
    with journal_of(sandbox_project(sandbox), tmp_path / "here") as journal:
        for number in range(3):
            assert opened(journal, intent(f"{number:064x}")) == Opened()
        assert len(sandbox.state()["supabase"]["upload_intents"]) == 2
        assert len(journal._local.unfinished()) == 1
