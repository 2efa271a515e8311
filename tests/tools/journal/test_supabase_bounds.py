"""The shared journal's bounds, and what it keeps to itself."""

from __future__ import annotations

import asyncio
import multiprocessing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from tests.tools.journal.supabase_making import intent, journal_of, opened, sandbox_project
from tools.cli.schema import schema_steps
from tools.journal import supabase, supabase_client, supabase_remote, supabase_writing
from tools.journal import supabase_requests as requests
from tools.journal.port import Facts, Held, JournalError, Opened, State
from tools.journal.supabase_client import FleetOwner, RefusedError, TableClient, UnusableError
from tools.journal.supabase_remote import Change, Known, Remote
from tools.sandbox import RunningSandbox
from tools.settings import MEGABYTE
from tools.transport import rest

KEY = "planted-service-role-key"


def test_the_lease_of_the_documents_is_that_of_the_database() -> None:
    """The migration and the program speak of the same time, and a lease outlasts three lost renewals."""
    sql = "".join(migration.sql for migration in schema_steps())
    assert sql.count(f"interval '{requests.LEASE_SECONDS:g} seconds'") == 1
    assert 4 * supabase_writing.HEARTBEAT_SECONDS <= requests.LEASE_SECONDS


def test_the_bounds_in_the_documents_are_the_real_ones() -> None:
    """The figures of the architecture page are those of the code."""
    page = (Path(__file__).parents[3] / "docs" / "architecture.md").read_text(encoding="utf-8")
    remembered = {supabase_remote.MAX_OPEN, supabase_remote.MAX_DOUBTFUL, supabase_remote.MAX_REMEMBERED}
    for figure in (
        f"| a claim in Supabase | {supabase_remote.OPEN_SECONDS:g} s to make it",
        f"a lease of {requests.LEASE_SECONDS:g} s, renewed every {supabase_writing.HEARTBEAT_SECONDS:g} s, ",
        f"{supabase_writing.RENEWED_AT_ONCE} in one request",
        f"left alone for {supabase_remote.AWAY_SECONDS:g} s, ",
        f"without the table for {supabase_remote.UNUSABLE_SECONDS:g} s",
        f"| uploads of one process in the shared journal | {remembered.pop():,}, further ones are SQLite's",
        f"| {rest.MAX_CONNECTIONS} at once, each {supabase_client.ANSWER_SECONDS:g} s ",
        f"and {supabase_client.ATTEMPTS} attempts, an answer of {supabase_client.MAX_ANSWER_BYTES // MEGABYTE} MiB; ",
        f"{requests.MAX_LISTED:,} unfinished uploads in a listing",
        f"| {supabase.BLOCKING_SECONDS:g} s for recovery and `shim status`, {supabase.EXIT_SECONDS:g} s at exit ",
        f"and {supabase_client.STOP_SECONDS:g} s to end its thread",
        f"once in {supabase_writing.FORGET_SECONDS:,.0f} s; {requests.MAX_ENDED} of one content",
        f"{requests.MAX_ERROR_CHARACTERS:,} characters of an error",
    ):
        assert figure in page, figure
    assert not remembered


@given(st.text(st.characters(), max_size=50))
def test_every_name_can_be_kept(text: str) -> None:
    """Names that are no UTF-8 or hold a NUL survive the way through Postgres; others are kept as they are."""
    kept = requests.escaped(text)
    assert requests.unescaped(kept) == text
    assert "\0" not in kept
    kept.encode()
    if "\\" not in text and "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text):
        assert kept == text


_CHANGES = st.builds(
    lambda state, file_id, attempts: Change(state=state, facts=Facts(provider_file_id=file_id, attempts=attempts)),
    st.sampled_from(State),
    st.none() | st.text(max_size=3),
    st.none() | st.integers(0, 9),
)


@given(_CHANGES, _CHANGES, _CHANGES)
def test_notes_that_go_in_one_request_say_what_they_say_apart(first: Change, second: Change, third: Change) -> None:
    """However notes are put together while the database is slow, the last state and all facts arrive."""
    assert first.then(second).then(third) == first.then(second.then(third))
    joined = first.then(second)
    assert joined.state is second.state
    for name in Facts.__dataclass_fields__:
        known = [getattr(change.facts, name) for change in (second, first)]
        assert getattr(joined.facts, name) == next((value for value in known if value is not None), None)


def test_what_a_process_remembers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of ended uploads, holders and waiting calls only so many are remembered."""
    monkeypatch.setattr(supabase_remote, "MAX_REMEMBERED", 5)
    known = Known("me", lambda: 1.0)
    for number in range(50):
        mine, waiting = intent(f"{number:064x}"), intent(f"{number + 100:064x}")
        known.learn(mine, Opened())
        known.note(mine.upload_id, Change(state=State.DONE, facts=Facts(provider_file_id="f")), at=1.0)
        known.drop(mine.upload_id)
        known.learn(waiting, Held(upload_id="theirs", owner="them"))
    for memory in (known._ended, known._last_ended, known._waited_for, known._held):
        assert len(memory) == 5
    assert (known.uploads, known._claims) == ({}, {})


async def test_claims_in_doubt_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a database that stays away no more claims are to be withdrawn later than the bound says."""
    monkeypatch.setattr(supabase_remote, "MAX_DOUBTFUL", 3)
    client = TableClient("http://127.0.0.1:9", KEY)  # no server listens there
    remote = Remote(client, FleetOwner(tmp_path / "journal.owners"))
    for number in range(6):
        with pytest.raises(JournalError):
            await remote.open(intent(f"{number:064x}"), begun=0.0)
    assert len(remote._doubtful) == 3
    assert (remote.is_resting, remote.takes_uploads) == (True, False)
    await remote.close()


async def _ask_a_server_that_answers(answer: web.Response) -> Any:
    async def handle(_: web.Request) -> web.Response:
        return answer

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    client = TableClient(f"http://127.0.0.1:{runner.addresses[0][1]}", KEY)
    try:
        return await client.ask(requests.TABLE, requests.list_unfinished())
    finally:
        await client.close()
        await runner.cleanup()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (lambda: web.Response(body=b"[" + b" " * supabase_client.MAX_ANSWER_BYTES + b"]"), RefusedError),
        (lambda: web.Response(text="<html>it works</html>"), RefusedError),
        (lambda: web.json_response({"no": "list"}), RefusedError),
        (lambda: web.json_response([1, 2]), RefusedError),
        (lambda: web.Response(status=302, headers={"Location": "http://elsewhere.invalid/"}), UnusableError),
        (lambda: web.Response(status=404, text="no such project"), UnusableError),
        (lambda: web.json_response({"code": "42501", "message": "permission denied"}, status=403), UnusableError),
    ],
)
async def test_an_answer_that_is_none_is_an_error_that_names_no_key(answer: Any, error: type[Exception]) -> None:
    """Endless, foreign and redirected answers are refused, and no text quotes the key."""
    with pytest.raises(error) as refused:
        await _ask_a_server_that_answers(answer())
    assert KEY not in str(refused.value)
    assert len(str(refused.value)) < 400


def test_a_forked_child_is_another_owner(sandbox: RunningSandbox, tmp_path: Path) -> None:
    """A forked child is another owner, with connections of its own, and the parent's go on working."""
    with journal_of(sandbox_project(sandbox), tmp_path / "here") as journal:
        assert opened(journal, intent()) == Opened()
        heard, told = multiprocessing.Pipe(duplex=False)

        def child() -> None:
            told.send((journal.owner, type(opened(journal, intent())).__name__))
            told.send(opened(journal, intent("b" * 64)) == Opened())
            journal.stop()

        forked = multiprocessing.get_context("fork").Process(target=child)
        forked.start()
        assert heard.poll(60)
        owner, outcome = heard.recv()
        assert (owner != journal.owner, outcome) == (True, "Held")
        assert heard.poll(60)
        assert heard.recv()
        forked.join(60)
        assert opened(journal, intent("c" * 64)) == Opened()
        assert [entry.state for entry in journal.unfinished()] == [State.INTENDED] * 3


def test_waiting_for_the_database_is_bounded(
    sandbox: RunningSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flush gives up after its time, and leaves nothing running that could end it later."""
    with journal_of(sandbox_project(sandbox), tmp_path / "here") as journal:
        assert opened(journal, intent()) == Opened()
        monkeypatch.setattr(Remote, "unfinished", lambda _: asyncio.sleep(3600))
        monkeypatch.setattr("tools.journal.supabase.BLOCKING_SECONDS", 0.2)
        with pytest.raises(JournalError, match=r"within 0.2 s"):
            journal.unfinished()
