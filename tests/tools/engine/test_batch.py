"""The tools' twins, compared with the tools themselves."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tools.engine.support import Reply, WireServer
from tools.async_file_upload_refactored import upload_files_glm_async, upload_files_kimi_async
from tools.providers.glm.glm_files import GLMUploadFileTool
from tools.providers.kimi.kimi_files import KimiUploadFilesTool
from tools.sandbox import RunningSandbox
from tools.settings import Settings, use_settings
from tools.storage.local import LocalStorage
from tools.storage.port import StorageTimeoutError, StorageUnreachableError, UploadRow
from tools.transport.errors import ConnectionNotMadeError

MakeFile = Callable[[str, bytes], Path]
Twin = Callable[..., Any]

TOOLS = pytest.mark.parametrize(
    ("tool_class", "twin", "name"),
    [
        pytest.param(KimiUploadFilesTool, upload_files_kimi_async, "kimi", id="kimi"),
        pytest.param(GLMUploadFileTool, upload_files_glm_async, "glm", id="glm"),
    ],
)


def _comparable(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Entries with ids numbered by their first appearance, and without times."""
    numbers: dict[str, int] = {}
    return [
        {**entry, "file_id": numbers.setdefault(entry["file_id"], len(numbers)), "upload_timestamp": None}
        for entry in entries
    ]


@TOOLS
async def test_the_entries_are_what_the_tool_returns(
    *,
    sandbox: RunningSandbox,
    sandbox_settings: Settings,
    make_file: MakeFile,
    tmp_path: Path,
    tool_class: Callable[[LocalStorage], Any],
    twin: Twin,
    name: str,
) -> None:
    """Order, keys, sizes, and who shares an id with whom: each content is uploaded once."""
    contents = [b"one", b"two", b"one", b"three" * 200_000, b"two", b"one"]
    files = [str(make_file(f"{number}.txt", content)) for number, content in enumerate(contents)]
    theirs = await asyncio.to_thread(tool_class(LocalStorage(tmp_path / "theirs"))._run, files=files)
    ours = await twin(tool_class(LocalStorage(tmp_path / "ours")), files=files)
    assert _comparable(ours) == _comparable(theirs)
    assert [entry["deduplicated"] for entry in ours] == [False, False, True, False, True, True]
    assert all(list(mine) == list(other) for mine, other in zip(ours, theirs, strict=True))
    assert len(sandbox.state()[name]["files"]) == 6
    del sandbox_settings


@TOOLS
@pytest.mark.usefixtures("sandbox", "sandbox_settings")
async def test_what_the_provider_has_is_not_uploaded_again(
    *, make_file: MakeFile, storage: LocalStorage, tool_class: Callable[[LocalStorage], Any], twin: Twin, name: str
) -> None:
    """An upload by the tool is known to its twin, and the other way round."""
    del name
    tool = tool_class(storage)
    first, second = str(make_file("a.txt", b"first")), str(make_file("b.txt", b"second"))
    [theirs] = await asyncio.to_thread(tool._run, files=[first])
    [ours] = await twin(tool, [second])
    again = await twin(tool, [first, second])
    and_again = await asyncio.to_thread(tool._run, files=[first, second])
    assert [entry["file_id"] for entry in again] == [theirs["file_id"], ours["file_id"]]
    assert all(entry["deduplicated"] for entry in again + and_again)


def test_the_twins_take_what_the_methods_take() -> None:
    """A method can be replaced by its twin: same parameters, the tool in the place of `self`."""
    for tool, twin in ((KimiUploadFilesTool, upload_files_kimi_async), (GLMUploadFileTool, upload_files_glm_async)):
        theirs = list(inspect.signature(tool._run).parameters.values())[1:]
        ours = list(inspect.signature(twin).parameters.values())[1:]
        assert [(p.name, p.kind, p.default) for p in ours] == [(p.name, p.kind, p.default) for p in theirs]


@TOOLS
async def test_the_first_unusable_file_ends_the_batch_where_it_stands(
    *,
    sandbox: RunningSandbox,
    sandbox_settings: Settings,
    make_file: MakeFile,
    tmp_path: Path,
    tool_class: Callable[[LocalStorage], Any],
    twin: Twin,
    name: str,
) -> None:
    """Files in front of it are uploaded, those behind it are not; type and text are the tool's."""
    del sandbox_settings
    files = [make_file("a.txt", b"a"), make_file("b.txt", b"b"), tmp_path / "missing", make_file("d.txt", b"d")]
    with pytest.raises(ValueError, match="File not found") as theirs:
        await asyncio.to_thread(tool_class(LocalStorage(tmp_path / "theirs"))._run, files=files)
    before = len(sandbox.state()[name]["files"])
    with pytest.raises(ValueError, match="File not found") as ours:
        await twin(tool_class(LocalStorage(tmp_path / "ours")), files)
    assert str(ours.value) == str(theirs.value)
    assert len(sandbox.state()[name]["files"]) - before == before == 2


@pytest.mark.usefixtures("wire_settings")
async def test_after_a_failure_no_further_file_is_begun(
    wire: WireServer, wire_settings: Settings, make_file: MakeFile, storage: LocalStorage
) -> None:
    """With one upload at a time it is the tool's sequence exactly."""
    wire.replies = [Reply(), Reply(status=400, body=b'{"error": {"message": "no"}}'), Reply(body=b'{"id": "3"}')]
    files = [make_file(f"{number}.txt", b"%d" % number) for number in range(5)]
    with (
        use_settings(wire_settings.model_copy(update={"upload_concurrency": 1})),
        pytest.raises(RuntimeError, match="Error code: 400 - no"),
    ):
        await upload_files_kimi_async(KimiUploadFilesTool(storage), files)
    assert len(wire.posts) == 2


@pytest.mark.usefixtures("wire_settings")
async def test_the_error_of_the_first_failing_file_is_raised(
    wire: WireServer, make_file: MakeFile, storage: LocalStorage
) -> None:
    """Which of several failing uploads fails first does not matter; those begun are brought to their end."""
    wire.replies = [Reply(status=400, body=b'{"error": {"message": "no"}}')]
    wire.hold = asyncio.Event()
    files = [make_file(f"{number}.txt", b"%d" % number) for number in range(4)]
    running = asyncio.create_task(upload_files_kimi_async(KimiUploadFilesTool(storage), files))
    while wire.connections < len(files):  # noqa: ASYNC110  # the server only counts
        await asyncio.sleep(0.001)
    files[0].unlink()
    wire.hold.set()
    with pytest.raises(RuntimeError, match="Error code: 400 - no"):
        await running
    assert 1 <= len(wire.posts) <= 4


class FlakyStorage(LocalStorage):
    """Cannot be reached for some files, cannot look anything up."""

    def __init__(self, root: Path, unreachable: set[str], *, blind: bool = False) -> None:
        super().__init__(root)
        self.unreachable = unreachable
        self.blind = blind

    async def upload_file_streaming(self, file_path: str, *args: Any, **kwargs: Any) -> str:
        if Path(file_path).name in self.unreachable:
            raise StorageUnreachableError(action=f"store {file_path!r}", address="nowhere")
        return await super().upload_file_streaming(file_path, *args, **kwargs)

    async def find_upload_async(self, **kwargs: Any) -> UploadRow | None:
        if self.blind:
            raise StorageTimeoutError(action="look up the upload", address="there")
        return await super().find_upload_async(**kwargs)


@pytest.mark.parametrize(("unreachable", "proof"), [({"0.txt", "1.txt"}, True), ({"1.txt"}, False), ({"0.txt"}, False)])
@pytest.mark.usefixtures("wire_settings")
async def test_a_batch_proves_that_nothing_was_sent_only_if_no_file_was(
    *, make_file: MakeFile, tmp_path: Path, unreachable: set[str], proof: bool
) -> None:
    """One file that was sent takes the proof away from all others."""
    files = [make_file("0.txt", b"0"), make_file("1.txt", b"1")]
    with pytest.raises(RuntimeError, match="Failed to upload to Supabase: store 'kimi-gateway") as caught:
        await upload_files_kimi_async(KimiUploadFilesTool(FlakyStorage(tmp_path / "s", unreachable)), files)
    assert isinstance(caught.value.__cause__, ConnectionNotMadeError) is proof


@pytest.mark.usefixtures("wire_settings")
async def test_a_failing_lookup_is_logged_and_the_file_is_uploaded(
    wire: WireServer, make_file: MakeFile, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Deduplication is a convenience, not a condition."""
    tool = KimiUploadFilesTool(FlakyStorage(tmp_path / "s", set(), blind=True))
    with caplog.at_level(logging.ERROR):
        [entry] = await upload_files_kimi_async(tool, [make_file("a.txt", b"a")])
    assert not entry["deduplicated"]
    assert len(wire.posts) == 1
    assert "cannot tell whether Kimi has the file already, so it is uploaded" in caplog.text
