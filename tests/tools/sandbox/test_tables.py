"""The table stand-in, seen by `supabase`."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from postgrest.exceptions import APIError
from supabase import AsyncClient, Client

from tools.sandbox import RunningSandbox

TABLE = "provider_file_uploads"


def _row(number: int = 1, **others: Any) -> dict[str, Any]:
    return {
        "provider": "kimi",
        "provider_file_id": f"file-{number}",
        "sha256": f"{number:064x}",
        "filename": f"{number}.txt",
        "file_size_bytes": number,
        "upload_status": "completed",
        **others,
    }


def test_row_lives_from_insert_to_delete(supabase: Client, sandbox: RunningSandbox) -> None:
    """A row is inserted, found, changed and deleted; the answers hold whole rows."""
    table = supabase.table(TABLE)
    inserted: Any = table.insert(_row()).execute().data[0]
    assert inserted["id"] == 1
    assert inserted["created_at"].endswith("+00:00")
    found = table.select("*").eq("sha256", inserted["sha256"]).eq("provider", "kimi").execute().data
    assert found == [inserted]
    changed: Any = table.update({"upload_status": "deleted"}).eq("id", 1).execute().data[0]
    assert changed == {**inserted, "upload_status": "deleted"}
    assert table.delete().neq("id", 0).execute().data == [changed]
    assert sandbox.state()["supabase"][TABLE] == []


async def test_asynchronous_client_is_served_alike(async_supabase: AsyncClient) -> None:
    """The asynchronous client inserts and selects."""
    table = async_supabase.table(TABLE)
    await table.insert([_row(1), _row(2)]).execute()
    assert (await table.select("filename").order("id", desc=True).execute()).data == [
        {"filename": "2.txt"},
        {"filename": "1.txt"},
    ]


def test_upsert_merges_on_the_unique_key(supabase: Client) -> None:
    """A second upsert of the same provider and file changes the row and keeps its id."""
    table = supabase.table(TABLE)
    for status in ("pending", "completed"):
        table.upsert(_row(upload_status=status), on_conflict="provider,provider_file_id").execute()
    rows: Any = table.select("id,upload_status").execute().data
    assert rows == [{"id": 1, "upload_status": "completed"}]
    assert table.upsert(_row(), on_conflict="provider,provider_file_id", ignore_duplicates=True).execute().data == []


def test_selection_is_ordered_cut_and_counted(supabase: Client) -> None:
    """Filters, order, limit, offset and an exact count work together."""
    table = supabase.table(TABLE)
    table.insert([_row(number) for number in range(1, 6)]).execute()
    found = table.select("id", count="exact").gte("file_size_bytes", 2).order("id", desc=True).range(1, 2).execute()  # type: ignore[arg-type]  # the enum's value
    assert (found.data, found.count) == ([{"id": 4}, {"id": 3}], 4)
    assert table.select("id").in_("filename", ["1.txt", "5.txt"]).execute().data == [{"id": 1}, {"id": 5}]
    assert table.select("id").is_("error_message", "null").limit(1).execute().data == [{"id": 1}]
    assert table.select("id").like("filename", "3%").execute().data == [{"id": 3}]


def test_single_wants_exactly_one_row(supabase: Client) -> None:
    """single() gives the row itself; none or several are PGRST116."""
    table = supabase.table(TABLE)
    with pytest.raises(APIError) as none:
        table.select("*").eq("id", 1).single().execute()
    assert none.value.code == "PGRST116"
    table.insert([_row(1), _row(2)]).execute()
    one: Any = table.select("filename").eq("id", 1).single().execute().data
    assert one == {"filename": "1.txt"}
    with pytest.raises(APIError, match="PGRST116"):
        table.select("*").single().execute()


@pytest.mark.parametrize(
    ("row", "code"),
    [
        (_row(), "23505"),
        ({"provider": "kimi"}, "23502"),
        (_row(2, upload_status="lost"), "23514"),
        (_row(2, file_size_bytes="many"), "22P02"),
        (_row(2, colour="red"), "PGRST204"),
    ],
)
def test_constraints_hold(supabase: Client, row: dict[str, Any], code: str) -> None:
    """A row that breaks a constraint is refused with Postgres' own code, and nothing is written."""
    table = supabase.table(TABLE)
    table.insert(_row()).execute()
    with pytest.raises(APIError) as refused:
        table.insert([_row(3), row]).execute()
    assert refused.value.code == code
    assert len(table.select("id").execute().data) == 1


def test_unknown_tables_and_columns_are_refused(supabase: Client) -> None:
    """Unknown names are errors, never empty answers."""
    with pytest.raises(APIError) as table:
        supabase.table("files").select("*").execute()
    with pytest.raises(APIError) as column:
        supabase.table(TABLE).select("*").eq("colour", "red").execute()
    assert (table.value.code, column.value.code) == ("PGRST205", "42703")


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_all_rows_cannot_be_changed_at_once(sandbox: RunningSandbox, http: httpx.Client, method: str) -> None:
    """An update or delete without a filter is refused."""
    url = f"{sandbox.supabase_url}/rest/v1/{TABLE}"
    answer = http.request(method, url, json={"filename": "x"})
    assert (answer.status_code, answer.json()["code"]) == (400, "21000")


def test_values_never_become_sql(supabase: Client) -> None:
    """A value full of quotes is a value."""
    hostile = "x'; DROP TABLE provider_file_uploads; --"
    table = supabase.table(TABLE)
    table.insert(_row(filename=hostile)).execute()
    assert len(table.select("*").eq("filename", hostile).execute().data) == 1


def test_without_a_key_nothing_is_given(sandbox: RunningSandbox) -> None:
    """A request without a key is 401 in PostgREST's shape."""
    answer = httpx.get(f"{sandbox.supabase_url}/rest/v1/{TABLE}")
    assert (answer.status_code, answer.json()["code"]) == (401, "42501")
