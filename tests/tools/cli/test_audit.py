"""`shim audit`: what the new implementation has uploaded is looked at, repaired or put aside."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from flags import FileFlagAdmin
from shim.cli.conventions import ExitCode
from tests.support.command_line import Finished, RunHere
from tools.sandbox import RunningSandbox

PROVIDERS = ("kimi", "glm")
UPLOADS = 3

Shim = Callable[..., Finished]


@pytest.fixture
def shim(run_here: RunHere, sandbox: RunningSandbox) -> Shim:
    """The command line with both providers configured, copies and rows in a folder."""
    variables = {
        "KIMI_API_KEY": sandbox.key,
        "KIMI_API_URL": sandbox.urls["kimi"],
        "GLM_API_KEY": sandbox.key,
        "GLM_API_URL": sandbox.urls["glm"],
    }
    return lambda *arguments, **more: run_here(*arguments, **{**variables, **more})


@pytest.fixture(params=PROVIDERS)
def provider(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def uploaded(shim: Shim, flags: FileFlagAdmin, provider: str, tmp_path: Path) -> list[str]:
    """Files of one name that the new implementation has uploaded; their ids."""
    flags.set_percentage(f"async-upload-{provider}", 100)
    paths = []
    for number in range(UPLOADS):
        path = tmp_path / f"{number}" / "report.txt"
        path.parent.mkdir()
        path.write_text(f"Report number {number}.\n")
        paths.append(path)
    finished = shim("upload", *paths, "--provider", provider, "--concurrency", 1, "--json")
    assert finished.code == ExitCode.OK, finished.err
    return [str(each["file_id"]) for each in finished.document["files"]]


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "home" / "uploads.db", isolation_level=None)) as database:
        database.row_factory = sqlite3.Row
        yield database


def looked_at(shim: Shim, provider: str, *options: str) -> dict[str, Any]:
    """The audit's document, and each upload by its id."""
    finished = shim("audit", f"async-upload-{provider}", "--json", *options)
    document = dict(finished.document)
    assert (finished.code == ExitCode.OK) is document["ok"]
    return {**document, "by_id": {each["file_id"]: each for each in document["uploads"]}}


def test_all_is_well(shim: Shim, uploaded: list[str], provider: str) -> None:
    """Files, copies and rows that agree are intact, whichever name the storage gave to copies of one name."""
    found = looked_at(shim, provider)
    assert {each: found["by_id"][each]["state"] for each in uploaded} == dict.fromkeys(uploaded, "intact")
    assert found["ok"]


def test_a_file_that_the_provider_lost_is_put_aside(
    shim: Shim, uploaded: list[str], provider: str, sandbox: RunningSandbox, rows: sqlite3.Connection
) -> None:
    """Its row is marked as failed, so that the same content is uploaded again; nothing is deleted."""
    base = sandbox.urls["kimi"] if provider == "kimi" else sandbox.urls["glm"]
    answer = httpx.delete(f"{base}/files/{uploaded[1]}", headers={"Authorization": f"Bearer {sandbox.key}"})
    assert answer.is_success
    found = looked_at(shim, provider)
    assert found["counts"] == {"intact": 2, "missing": 1}
    assert "does not have the file" in found["by_id"][uploaded[1]]["problems"][0]
    assert _status(rows, uploaded[1]) == "completed", "looking changes nothing"

    assert looked_at(shim, provider, "--repair")["counts"] == {"intact": 2, "quarantined": 1}
    assert _status(rows, uploaded[1]) == "failed"
    assert rows.execute("SELECT count(*) FROM provider_file_uploads").fetchone()[0] == UPLOADS
    assert looked_at(shim, provider)["counts"] == {"intact": 2, "quarantined": 1}


def test_a_spoilt_copy_is_found_by_its_hash(
    shim: Shim, uploaded: list[str], provider: str, rows: sqlite3.Connection, tmp_path: Path
) -> None:
    """A copy of the same length with one other byte is damaged, and the row is put aside with the reason."""
    copy = tmp_path / "home" / "storage" / "objects" / f"{provider}-gateway" / "report.txt"
    content = copy.read_bytes()
    copy.write_bytes(content[:-1] + b"!")
    found = looked_at(shim, provider)
    assert found["by_id"][uploaded[0]]["state"] == "damaged"
    assert found["counts"] == {"intact": 2, "damaged": 1}
    looked_at(shim, provider, "--repair")
    [reason] = [
        row["error_message"] for row in rows.execute("SELECT * FROM provider_file_uploads") if row["error_message"]
    ]
    assert "SHA-256" in reason
    assert copy.read_bytes() == content[:-1] + b"!", "nothing is deleted or written over"


def test_a_missing_copy_is_put_aside(shim: Shim, uploaded: list[str], provider: str, tmp_path: Path) -> None:
    """The provider gives no content back, so a copy cannot be made again."""
    (tmp_path / "home" / "storage" / "objects" / f"{provider}-gateway" / "report.txt").unlink()
    found = looked_at(shim, provider)
    assert found["counts"] == {"intact": 2, "missing": 1}
    assert found["by_id"][uploaded[0]]["remedy"] == "mark its row as failed"


@pytest.mark.parametrize("number", range(UPLOADS))
def test_a_missing_row_is_written_anew(
    shim: Shim, uploaded: list[str], provider: str, rows: sqlite3.Connection, number: int
) -> None:
    """From the provider's file and the copy, to which the call's result leads, it becomes what it was."""
    before = _facts(rows, uploaded[number])
    rows.execute("DELETE FROM provider_file_uploads WHERE provider_file_id = ?", (uploaded[number],))
    assert looked_at(shim, provider)["counts"] == {"intact": 2, "missing": 1}
    assert looked_at(shim, provider, "--repair")["counts"] == {"intact": 2, "repaired": 1}
    assert _facts(rows, uploaded[number]) == before
    assert looked_at(shim, provider)["ok"]


def test_a_row_with_a_wrong_size_is_mended(
    shim: Shim, uploaded: list[str], provider: str, rows: sqlite3.Connection
) -> None:
    """Where file and copy are sound, the row alone is wrong."""
    before = _facts(rows, uploaded[2])
    rows.execute(
        "UPDATE provider_file_uploads SET file_size_bytes = 1, supabase_file_id = NULL WHERE provider_file_id = ?",
        (uploaded[2],),
    )
    assert looked_at(shim, provider, "--repair")["counts"] == {"intact": 2, "repaired": 1}
    assert _facts(rows, uploaded[2]) == before


def test_what_legacy_has_uploaded_is_not_looked_at(
    shim: Shim, flags: FileFlagAdmin, provider: str, tmp_path: Path
) -> None:
    """The audit is about the new implementation; both sides' rows are the same, so the guard notes whose it was."""
    flags.set_percentage(f"async-upload-{provider}", 0)
    path = tmp_path / "old.txt"
    path.write_text("Old ways.\n")
    assert shim("upload", path, "--provider", provider).code == ExitCode.OK
    assert looked_at(shim, provider)["uploads"] == []


def test_a_person_sees_a_table(shim: Shim, uploaded: list[str], provider: str, rows: sqlite3.Connection) -> None:
    """What is not intact stands in it, and what can be done about it below."""
    rows.execute("DELETE FROM provider_file_uploads WHERE provider_file_id = ?", (uploaded[0],))
    finished = shim("audit", f"async-upload-{provider}", COLUMNS="200")
    assert finished.code == ExitCode.FAILED
    assert "its row is missing" in finished.out
    assert f"`shim audit async-upload-{provider} --repair`" in finished.out
    assert "2 intact, 1 missing" in finished.out or "1 missing, 2 intact" in finished.out


def test_an_unknown_name_is_refused(shim: Shim) -> None:
    """With the names that there are."""
    finished = shim("audit", "new-thumbnails")
    assert finished.code == ExitCode.USAGE
    assert "async-upload-kimi" in finished.err


def _status(rows: sqlite3.Connection, file_id: str) -> str:
    return str(_facts(rows, file_id)["upload_status"])


def _facts(rows: sqlite3.Connection, file_id: str) -> dict[str, Any]:
    row = rows.execute("SELECT * FROM provider_file_uploads WHERE provider_file_id = ?", (file_id,)).fetchone()
    return {name: row[name] for name in row.keys() if name not in {"id", "created_at", "updated_at", "last_used"}}  # noqa: SIM118  # a row iterates over values
