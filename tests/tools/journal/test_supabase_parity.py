"""The sandbox answers what a real PostgreSQL answers, to every request that the journal makes."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.supabase import SupabaseTables
from tests.tools.journal.supabase_making import intent
from tools.journal import supabase_requests as requests
from tools.journal.port import CLAIMING, FINISHED, UNRESOLVED, Facts, State
from tools.journal.supabase_requests import Request
from tools.sandbox import RunningSandbox

TIMES = ("lease_until", "began_at", "updated_at", "finished_at")
FIRST, SECOND, OTHER = intent(upload_id="u1"), intent(upload_id="u2"), intent("b" * 64, upload_id="u3")
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
IN_FUTURE = datetime.now(UTC) + timedelta(days=1)

EVERYTHING: tuple[Request, ...] = (
    requests.insert(FIRST, "a/1/1"),
    requests.insert(FIRST, "a/1/1"),
    requests.insert(SECOND, "b/2/2"),
    requests.insert(OTHER, "b/2/2"),
    requests.find_holder(SECOND),
    requests.look_at("u1"),
    requests.look_at("nobody's"),
    requests.find_owner("u3"),
    requests.renew(("u1", "u3", "nobody's"), "a/1/1"),
    requests.abandon_expired(FIRST),
    requests.take("u1", "c/3/3"),
    requests.change("u1", "b/2/2", State.SENDING, Facts()),
    requests.change("u1", "a/1/1", State.SENDING, Facts(supabase_file_id="object-1")),
    requests.count_in_flight(),
    requests.count_left(),
    requests.count_unknown(),
    requests.list_unfinished(),
    requests.list_namesakes(SECOND),
    requests.list_namesakes(intent(upload_id="u5", filename='"a, b".txt')),
    requests.change("u1", "a/1/1", State.DELIVERED, Facts(provider_file_id="file-1", attempts=2)),
    requests.change("u1", "a/1/1", State.UNKNOWN, Facts(error="it's \\ ü")),
    requests.look_at("u1"),
    requests.find_ended(FIRST, LONG_AGO),
    requests.find_ended(FIRST, IN_FUTURE),
    requests.count_unknown(),
    requests.insert(SECOND, "b/2/2"),
    requests.abandon_of("u2", "a/1/1"),
    requests.abandon_of("u2", "b/2/2"),
    requests.settle("u2", State.DONE, Facts(provider_file_id="file-2")),
    requests.settle("u2", State.DONE, Facts()),
    requests.take("u1", "c/3/3"),
    requests.take("u1", "d/4/4"),
    requests.take("u1", "d/4/4", dead="c/3/3"),
    requests.release("u1", "d/4/4"),
    requests.count_left(),
    requests.change("u3", "b/2/2", State.FAILED, Facts(error="refused")),
    requests.list_unfinished(),
    requests.list_namesakes(OTHER),
    requests.list_namesakes(SECOND),
    requests.withdraw("u1", "d/4/4"),
    requests.insert(SECOND, "b/2/2"),
    requests.insert(intent(upload_id="u4"), "b/2/2"),
    requests.withdraw("u4", "b/2/2"),
    requests.forget(),
)

WRONG: tuple[Request, ...] = (
    Request(method="POST", query=(), body={"upload_id": "x"}),
    Request(method="GET", query=(("colour", "eq.red"),)),
    Request(method="GET", query=(("lease_until", "lt.soon"),)),
    Request(method="GET", query=(("size", "eq.many"),)),
    Request(method="PATCH", query=(("upload_id", "eq.u1"),), body={"colour": "red"}),
)


class Both:
    """The two, and what they answer."""

    def __init__(self, tables: SupabaseTables, sandbox: RunningSandbox) -> None:
        self._places = ((tables.url, tables.key), (sandbox.supabase_url, sandbox.key))

    def answers(self, asked: Sequence[Request]) -> list[list[Any]]:
        """For each, what it answers to each request in turn."""
        told = []
        for url, key in self._places:
            with httpx.Client(headers={"apikey": key, "Authorization": f"Bearer {key}"}, timeout=60) as client:
                told.append([_answer(client, f"{url}/rest/v1/upload_intents", request) for request in asked])
        return told


@pytest.fixture
def both(supabase_tables: SupabaseTables, sandbox: RunningSandbox) -> Both:
    return Both(supabase_tables, sandbox)


def _answer(client: httpx.Client, url: str, request: Request) -> Any:
    prefer = "count=exact" if request.counted else "return=representation"
    answer = client.request(
        request.method, url, params=dict(request.query), json=request.body, headers={"Prefer": prefer}
    )
    document = answer.json()
    if answer.is_error:
        return answer.status_code, document["code"]
    if request.counted:
        return answer.status_code, answer.headers["Content-Range"].rpartition("/")[2]
    rows = [{name: _shown(name, value) for name, value in row.items()} for row in document]
    return answer.status_code, rows if ("order", "finished_at.desc") in request.query else _sorted(rows)


def _shown(name: str, value: object) -> object:
    return ("a time" if value is not None else None) if name in TIMES else value


def _sorted(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    return sorted(rows, key=json.dumps)


def test_every_request_of_the_journal_is_answered_alike(both: Both) -> None:
    """The same rows, refusals and counts, request by request, through the whole life of some uploads."""
    real, standing_in = both.answers(EVERYTHING)
    for request, expected, told in zip(EVERYTHING, real, standing_in, strict=True):
        assert told == expected, request
    covered = {request.method for request in EVERYTHING}
    assert covered == {"GET", "POST", "PATCH", "DELETE"}


def test_wrong_requests_are_refused_alike(both: Both) -> None:
    """What the table does not take, the sandbox does not take either, with the same code."""
    real, standing_in = both.answers((requests.insert(FIRST, "a/1/1"), *WRONG))
    for request, expected, told in zip(WRONG, real[1:], standing_in[1:], strict=True):
        assert told == expected, request


@pytest.mark.parametrize("wrong", ["state = 'lost'", "side = 'both'", "provider = ''", "size = -1"])
def test_the_table_takes_nothing_that_has_no_meaning(supabase_tables: SupabaseTables, both: Both, wrong: str) -> None:
    """The database itself keeps out what no program here would write."""
    both.answers((requests.insert(FIRST, "a/1/1"),))
    caught = f"begin update upload_intents set {wrong}; raise 'taken'; exception when check_violation then null; end"  # noqa: S608 - constants
    supabase_tables.database.run(f"do $$ {caught} $$")


_UPLOADS = st.sampled_from(("u1", "u2", "u3"))
_OWNERS = st.sampled_from(("a/1/1", "b/2/2"))
_STATES = st.sampled_from((*CLAIMING, *UNRESOLVED, *FINISHED))
_FACTS = st.builds(Facts, provider_file_id=st.sampled_from((None, "file-1", "file-2")), attempts=st.integers(0, 3))
_CONTENTS = {"u1": FIRST, "u2": SECOND, "u3": OTHER}
_ANY = st.one_of(
    st.builds(lambda upload, owner: requests.insert(_CONTENTS[upload], owner), _UPLOADS, _OWNERS),
    st.builds(requests.change, _UPLOADS, _OWNERS, _STATES, _FACTS),
    st.builds(requests.take, _UPLOADS, _OWNERS),
    st.builds(lambda upload, owner, dead: requests.take(upload, owner, dead=dead), _UPLOADS, _OWNERS, _OWNERS),
    st.builds(requests.abandon_of, _UPLOADS, _OWNERS),
    st.builds(requests.release, _UPLOADS, _OWNERS),
    st.builds(requests.withdraw, _UPLOADS, _OWNERS),
    st.builds(requests.settle, _UPLOADS, st.sampled_from(FINISHED), _FACTS),
)


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(asked=st.lists(_ANY, min_size=1, max_size=12))
def test_any_order_of_requests_is_answered_alike(
    both: Both, supabase_tables: SupabaseTables, sandbox: RunningSandbox, asked: list[Request]
) -> None:
    """Whatever the order in which owners claim, change, lose and take over uploads, both tables end up alike."""
    supabase_tables.database.run("truncate upload_intents")
    sandbox.reset()
    everything = list(itertools.chain.from_iterable((request, requests.list_unfinished()) for request in asked))
    real, standing_in = both.answers(everything)
    assert standing_in == real


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_only_named_rows_are_changed(sandbox: RunningSandbox, method: str) -> None:
    """As in Supabase's databases, all rows cannot be changed at once."""
    with httpx.Client(headers={"Authorization": f"Bearer {sandbox.key}"}) as client:
        answer = client.request(method, f"{sandbox.supabase_url}/rest/v1/upload_intents", json={"owner": None})
    assert (answer.status_code, answer.json()["code"]) == (400, "21000")
