"""Live shadows of all entrances: the tools too, with several files, with known contents, with large files."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from migration import Comparison, ShadowMode, Side
from migration.model import Verdict
from tests.tools.live.bench import MODULES, TOOLS, Bench, declared, document
from tests.tools.live.conftest import MakeBench
from tools.sandbox import FaultKind

pytestmark = pytest.mark.thorough


def tool_of(bench: Bench) -> Any:
    return getattr(importlib.import_module(MODULES[bench.provider]), TOOLS[bench.provider])(bench.storage)


def compare(bench: Bench, method: str, *args: Any, serve: Side) -> Comparison:
    return bench.compare(tool_of(bench), *args, serve=serve, shim=bench.tool(method))


@pytest.mark.parametrize("serve", Side)
def test_several_files_in_one_call(serve: Side, bench: Bench, tmp_path: Path) -> None:
    """Also two with the same name and two with the same content, of which each side uploads the first only."""
    (tmp_path / "other").mkdir()
    files = [
        document(tmp_path, b"one" * 1000, "a.txt"),
        document(tmp_path, b"two" * 1000, "b.txt"),
        document(tmp_path / "other", b"three" * 1000, "a.txt"),
        document(tmp_path, b"one" * 1000, "c.txt"),
    ]
    comparison = compare(bench, "_run", [str(file) for file in files], serve=serve)
    assert comparison.verdict is Verdict.IDENTICAL, (comparison.detail, comparison.differences)
    held = bench.state()
    assert len(held.files) == 3
    assert not held.marked
    assert len(bench.sandbox.requests(bench.provider, "files.create")) == 6


@pytest.mark.parametrize("serve", Side)
def test_one_file_through_the_tool(serve: Side, bench: Bench, tmp_path: Path) -> None:
    """Its result is compared, with the id in it."""
    comparison = compare(bench, "run", document(tmp_path), serve=serve)
    assert comparison.verdict is Verdict.IDENTICAL, (comparison.detail, comparison.differences)
    assert not bench.state().marked


@pytest.mark.parametrize("serve", Side)
def test_a_known_content_is_uploaded_by_nobody(serve: Side, bench: Bench, tmp_path: Path) -> None:
    """The shadow is told what the primary was told: that the file is there."""
    path = document(tmp_path)
    compare(bench, "run", path, serve=serve)
    requests = len(bench.sandbox.requests(bench.provider, "files.create"))
    again = compare(bench, "run", path, serve=serve)
    assert again.verdict is Verdict.IDENTICAL, (again.detail, again.differences)
    assert len(bench.sandbox.requests(bench.provider, "files.create")) == requests


@pytest.mark.parametrize("serve", Side)
def test_a_name_that_is_taken(serve: Side, bench: Bench, tmp_path: Path) -> None:
    """Where the storage had to put the call's object under another key, the shadow's own key is no difference."""
    bench.storage.upload_file(
        file_path=f"{bench.provider}-gateway/document.txt",
        file_data=b"another owner's",
        original_name="document.txt",
        mime_type="text/plain",
        file_type="user_upload",
    )
    comparison = bench.upload(document(tmp_path), serve=serve)
    assert comparison.verdict is Verdict.IDENTICAL, (comparison.detail, comparison.differences)
    assert len(bench.state().objects) == 2
    assert not bench.state().marked


@pytest.mark.parametrize("serve", Side)
def test_a_large_file_goes_up_in_pieces(serve: Side, make_bench: MakeBench, tmp_path: Path) -> None:
    """A resumable upload leaves what a form leaves, and nothing unfinished."""
    bench = make_bench("kimi", "supabase")
    comparison = bench.upload(document(tmp_path, bytes(7 * 1024 * 1024), "large.bin"), serve=serve)
    assert comparison.verdict is Verdict.IDENTICAL, (comparison.detail, comparison.differences)
    held = bench.state()
    assert (len(held.objects), held.resumable) == (1, 0)
    assert not held.marked


@pytest.mark.parametrize("mode", [ShadowMode.LIVE, ShadowMode.REPLAY])
def test_arguments_may_be_given_by_name(mode: ShadowMode, make_bench: MakeBench, tmp_path: Path) -> None:
    """However a caller gives its arguments, they are compared."""
    bench = make_bench("kimi", "embedded")
    shim = bench.shim(declared("kimi", mode))

    def by_name(**arguments: Any) -> Any:
        return shim(**arguments)

    arguments = {"file_path": str(document(tmp_path)), "storage": bench.storage, "purpose": "file-extract"}
    comparison = bench.compare(shim=lambda: by_name(**arguments))
    assert comparison.verdict is Verdict.IDENTICAL, (comparison.detail, comparison.differences)


def test_a_name_without_room_for_a_mark_is_not_compared(make_bench: MakeBench, tmp_path: Path) -> None:
    """A name as long as the file system allows: dropped, with the reason."""
    bench = make_bench("kimi", "embedded")
    comparison = bench.upload(document(tmp_path, name=f"{'x' * 251}.txt"))
    assert comparison.verdict is Verdict.DROPPED
    assert "marked name" in comparison.detail
    assert not bench.state().marked


def test_a_storage_that_cannot_be_read_back_is_not_compared(make_bench: MakeBench, tmp_path: Path) -> None:
    """Nothing is made in a storage from which nothing can be removed."""
    bench = make_bench("kimi", "embedded")
    foreign = SimpleNamespace(
        upload_file=lambda **_arguments: "id", record_upload=lambda _row: None, find_upload=lambda **_arguments: None
    )
    comparison = bench.compare(document(tmp_path), foreign)
    assert comparison.verdict is Verdict.DROPPED
    assert "SimpleNamespace" in comparison.detail
    assert len(bench.state().files) == 1


def test_a_provider_that_reads_slowly(make_bench: MakeBench, tmp_path: Path) -> None:
    """A file that is not read yet is compared without its text, and that is said."""
    bench = make_bench("kimi", "embedded")
    bench.sandbox.inject(FaultKind.SLOW_PARSING, "kimi", "files.create", times=None, seconds=600)
    comparison = bench.upload(document(tmp_path))
    assert comparison.verdict is Verdict.IDENTICAL, (comparison.detail, comparison.differences)
    assert "its text" in comparison.detail
