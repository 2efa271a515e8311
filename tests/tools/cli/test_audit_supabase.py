"""`shim audit` where copies and rows are in Supabase."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import httpx
import pytest

from flags import FileFlagAdmin
from shim.cli.conventions import ExitCode
from tests.support.command_line import Finished, RunHere
from tools.sandbox import RunningSandbox

NAME = "async-upload-kimi"


class Supabase:
    """The services behind the command line, asked without it."""

    def __init__(self, sandbox: RunningSandbox) -> None:
        self._url, self._files_url = sandbox.supabase_url, f"{sandbox.urls['kimi']}/files"
        self._headers = {"apikey": sandbox.key, "Authorization": f"Bearer {sandbox.key}"}

    def row(self, file_id: str) -> dict[str, object]:
        [row] = self._ask("GET", f"{self._rows}?provider_file_id=eq.{file_id}")
        return dict(row)

    def delete_row(self, file_id: str) -> None:
        self._ask("DELETE", f"{self._rows}?provider_file_id=eq.{file_id}")

    def delete_copy(self, path: str) -> None:
        assert len(self._ask("DELETE", f"{self._url}/storage/v1/object/user-files", {"prefixes": [path]})) == 1

    def delete_file(self, file_id: str) -> None:
        self._ask("DELETE", f"{self._files_url}/{file_id}")

    @property
    def _rows(self) -> str:
        return f"{self._url}/rest/v1/provider_file_uploads"

    def _ask(self, method: str, address: str, body: object = None) -> Any:
        answer = httpx.request(method, address, json=body, headers=self._headers).raise_for_status()
        return answer.json() if answer.content else None


@pytest.fixture
def supabase(sandbox: RunningSandbox) -> Supabase:
    return Supabase(sandbox)


@pytest.fixture
def shim(run_here: RunHere, sandbox: RunningSandbox, flags: FileFlagAdmin) -> RunHere:
    flags.set_percentage(NAME, 100)
    variables = {
        "KIMI_API_KEY": sandbox.key,
        "KIMI_API_URL": sandbox.urls["kimi"],
        "SUPABASE_URL": sandbox.supabase_url,
        "SUPABASE_SERVICE_ROLE_KEY": sandbox.key,
    }
    return lambda *arguments, **more: run_here(*arguments, **{**variables, **more})


def uploaded(shim: RunHere, folder: Path, *contents: str) -> list[str]:
    """Files with these contents, uploaded by the new implementation; their ids."""
    paths = []
    for number, content in enumerate(contents):
        path = folder / f"report-{number}.txt"
        path.write_text(content)
        paths.append(path)
    finished = shim("upload", *paths, "--concurrency", 1, "--json")
    assert finished.code == ExitCode.OK, finished.err
    return [str(each["file_id"]) for each in finished.document["files"]]


def states(finished: Finished) -> dict[str, str]:
    return {each["file_id"]: each["state"] for each in finished.document["uploads"]}


def test_what_is_missing_in_supabase_is_found_and_mended(shim: RunHere, supabase: Supabase, tmp_path: Path) -> None:
    """A row is written again as it was; one without its file or copy is quarantined; the whole one is intact."""
    whole, rowless, fileless, copyless = uploaded(shim, tmp_path, "One.\n", "Two.\n", "Three.\n", "Four.\n")
    assert states(shim("audit", NAME, "--contents", "--json")) == dict.fromkeys(
        (whole, rowless, fileless, copyless), "intact"
    )
    supabase.delete_row(rowless)
    supabase.delete_file(fileless)
    supabase.delete_copy("kimi-gateway/report-3.txt")

    assert states(shim("audit", NAME, "--json")) == {
        whole: "intact",
        rowless: "missing",
        fileless: "missing",
        copyless: "missing",
    }
    repaired = shim("audit", NAME, "--repair", "--json")
    assert repaired.code == ExitCode.FAILED
    assert states(repaired) == {
        whole: "intact",
        rowless: "repaired",
        fileless: "quarantined",
        copyless: "quarantined",
    }
    assert supabase.row(rowless)["sha256"] == hashlib.sha256(b"Two.\n").hexdigest()
    assert {file: supabase.row(file)["upload_status"] for file in (whole, rowless, fileless, copyless)} == {
        whole: "completed",
        rowless: "completed",
        fileless: "failed",
        copyless: "failed",
    }
