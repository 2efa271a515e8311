from __future__ import annotations

import copy
import json
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.tools.providers.surface import Provider
from tools.sandbox import RunningSandbox
from tools.storage.local import LocalStorage

pytestmark = pytest.mark.usefixtures("monolith")


@pytest.fixture
def other(tmp_path: Path) -> Path:
    path = tmp_path / "other.txt"
    path.write_text("something else")
    return path


def test_each_file_has_an_entry(
    provider: Provider, sandbox: RunningSandbox, storage: LocalStorage, document: Path, other: Path
) -> None:
    """The entries are in the order of the files, with the provider's ids."""
    before = datetime.now(UTC)
    entries = provider.tool(storage)._run(files=[str(document), other], purpose=provider.purpose)
    assert [entry["filename"] for entry in entries] == ["report.txt", "other.txt"]
    assert {entry["file_id"] for entry in entries} == {file["id"] for file in provider.files(sandbox)}
    for entry, path in zip(entries, (document, other), strict=True):
        assert set(entry) == {"filename", "file_id", "size_bytes", "upload_timestamp", "deduplicated"}
        assert entry["size_bytes"] == path.stat().st_size
        assert entry["deduplicated"] is False
        assert before <= datetime.fromisoformat(entry["upload_timestamp"]) <= datetime.now(UTC)


def test_known_content_is_not_sent_again(
    provider: Provider, sandbox: RunningSandbox, storage: LocalStorage, document: Path, other: Path
) -> None:
    """Whatever the name, the same content is the same file at the provider."""
    tool = provider.tool(storage)
    first = tool.run(file=document)
    other.write_bytes(document.read_bytes())
    second = tool.run(file=str(other), purpose=provider.purpose)
    assert first == {"file_id": first["file_id"], "filename": "report.txt", "deduplicated": False}
    assert second == {"file_id": first["file_id"], "filename": "other.txt", "deduplicated": True}
    assert len(provider.files(sandbox)) == 1


def test_the_embedded_storage_is_the_default(provider: Provider, document: Path) -> None:
    """Without a storage given, the configured one is used, and remembers from one tool to the next."""
    assert provider.tool().run(file=document)["deduplicated"] is False
    assert provider.tool().run(file=document)["deduplicated"] is True


def test_the_storage_of_a_tool_can_be_exchanged(
    provider: Provider, storage: LocalStorage, document: Path, tmp_path: Path
) -> None:
    """A copy of a tool works with another storage, and leaves the first tool's alone."""
    tool = provider.tool(storage)
    tool.run(file=document)
    other = copy.copy(tool)
    other.storage = LocalStorage(tmp_path / "elsewhere")
    assert other.run(file=document)["deduplicated"] is False
    assert tool.storage is storage


def test_a_failure_ends_the_run_and_keeps_what_was_done(
    provider: Provider, sandbox: RunningSandbox, storage: LocalStorage, document: Path, tmp_path: Path
) -> None:
    """Files before the failing one are uploaded and tracked, so a repetition does not send them again."""
    tool = provider.tool(storage)
    with pytest.raises(ValueError, match="File not found"):
        tool._run(files=[document, tmp_path / "missing.txt"])
    assert tool.run(file=document)["deduplicated"] is True
    assert len(provider.files(sandbox)) == 1


def test_a_replaced_upload_function_is_honoured(
    provider: Provider, storage: LocalStorage, document: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The module's function is looked up at each call."""
    calls: list[tuple[object, ...]] = []

    def replacement(*arguments: object) -> dict[str, str]:
        calls.append(arguments)
        return {f"{provider.name}_file_id": "replaced"}

    monkeypatch.setattr(provider.module, provider.function_name, replacement)
    assert provider.tool(storage).run(file=document, purpose="batch")["file_id"] == "replaced"
    assert calls == [(document, storage, "batch")]


async def test_execute_answers_with_json(provider: Provider, storage: LocalStorage, document: Path) -> None:
    """Several files give a list, one file an object; the work is not done on the event loop's thread."""
    tool = provider.tool(storage)
    [entry] = json.loads(await tool.execute({"files": [str(document)]}))
    assert entry["deduplicated"] is False
    single = json.loads(await tool.execute({"file": str(document), "purpose": provider.purpose}))
    assert single == {"file_id": entry["file_id"], "filename": "report.txt", "deduplicated": True}


async def test_execute_without_a_file_says_what_it_needs(provider: Provider, storage: LocalStorage) -> None:
    """The error names the arguments."""
    with pytest.raises(ValueError, match=f"{provider.tool.name} needs 'files'"):
        await provider.tool(storage).execute({"purpose": "x"})


async def test_execute_works_beside_the_event_loop(
    provider: Provider, storage: LocalStorage, document: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The blocking upload runs in another thread."""
    seen: list[threading.Thread] = []

    def replacement(*_: object) -> dict[str, str]:
        seen.append(threading.current_thread())
        return {f"{provider.name}_file_id": "id"}

    monkeypatch.setattr(provider.module, provider.function_name, replacement)
    await provider.tool(storage).execute({"files": [document]})
    assert seen != [threading.current_thread()]


async def test_execute_prefers_an_asynchronous_twin(
    provider: Provider, storage: LocalStorage, document: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An added twin is awaited instead of using a thread."""

    async def run_many(_: object, files: list[Any], purpose: str) -> list[Any]:
        return [*files, purpose]

    async def run_one(_: object, file: str, purpose: str) -> list[str]:
        return [file, purpose]

    monkeypatch.setattr(provider.tool, "_run_async", run_many, raising=False)
    monkeypatch.setattr(provider.tool, "run_async", run_one, raising=False)
    tool = provider.tool(storage)
    assert json.loads(await tool.execute({"files": [str(document)]})) == [str(document), provider.purpose]
    assert json.loads(await tool.execute({"file": "a", "purpose": "b"})) == ["a", "b"]
