"""A defect of the candidate shows in a live comparison, and leaves nothing behind either."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, cast

import pytest

from migration import Side
from migration.model import Verdict
from tests.tools.live.bench import declared, document
from tests.tools.live.conftest import MakeBench
from tests.tools.planted import FlippingWriter
from tools.async_file_upload_refactored import upload_via_supabase_gateway_kimi_async as upload
from tools.recovery.provider_files import ProviderFiles
from tools.recovery.service_client import ServiceClient
from tools.storage.port import UploadRow
from tools.transport.upload import FileBody

pytestmark = pytest.mark.thorough

TEXT = b"some text\n" * 5000


class Bent:
    """A storage with another method in the place of one of its own."""

    def __init__(self, storage: Any, **methods: Any) -> None:
        self._storage = storage
        self.__dict__.update(methods)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    async def upload_file_streaming(self, *args: Any, **kwargs: Any) -> str:
        return str(await self._storage.upload_file_streaming(*args, **kwargs))


async def wrong_purpose(file_path: Any, storage: Any, purpose: str = "file-extract") -> Any:
    return await upload(file_path, storage, "image" if purpose else purpose)


async def uploads_twice(file_path: Any, storage: Any, purpose: str = "file-extract") -> Any:
    await upload(file_path, storage, purpose)
    return await upload(file_path, storage, purpose)


async def wrong_content_type(file_path: Any, storage: Any, purpose: str = "file-extract") -> Any:
    class Mistyping(Bent):
        async def upload_file_streaming(self, *args: Any, **kwargs: Any) -> str:
            return await super().upload_file_streaming(*args, **{**kwargs, "mime_type": "text/html"})

    return await upload(file_path, Mistyping(storage), purpose)


async def wrong_key(file_path: Any, storage: Any, purpose: str = "file-extract") -> Any:
    class Misplacing(Bent):
        async def upload_file_streaming(self, *args: Any, **kwargs: Any) -> str:
            return await super().upload_file_streaming(*args, **{**kwargs, "file_path": f"{kwargs['file_path']}.bak"})

    return await upload(file_path, Misplacing(storage), purpose)


async def foreign_key(file_path: Any, storage: Any, purpose: str = "file-extract") -> Any:
    class Overwriting(Bent):
        async def upload_file_streaming(self, *args: Any, **kwargs: Any) -> str:
            return await super().upload_file_streaming(*args, **{**kwargs, "file_path": "kimi-gateway/document.txt"})

    return await upload(file_path, Overwriting(storage), purpose)


async def forgets_the_row(file_path: Any, storage: Any, purpose: str = "file-extract") -> Any:
    async def forget(_row: UploadRow) -> None:
        pass

    return await upload(file_path, Bent(storage, record_upload_async=forget), purpose)


async def wrong_hash_in_the_row(file_path: Any, storage: Any, purpose: str = "file-extract") -> Any:
    async def bend(row: UploadRow) -> None:
        await storage.record_upload_async(dataclasses.replace(row, sha256="0" * 64))

    return await upload(file_path, Bent(storage, record_upload_async=bend), purpose)


async def other_id(file_path: Any, storage: Any, purpose: str = "file-extract") -> Any:
    return {**await upload(file_path, storage, purpose), "kimi_file_id": "0123456789abcdef01234567"}


async def swallows_errors(file_path: Any, storage: Any, purpose: str = "file-extract") -> Any:
    try:
        return await upload(file_path, storage, purpose)
    except (ValueError, RuntimeError):
        return {"status": "success"}


async def fails(file_path: Any, storage: Any, purpose: str = "file-extract") -> Any:
    await upload(file_path, storage, purpose)
    raise RuntimeError("after everything was made")


DEFECTS = {
    wrong_purpose: "made.files[0].purpose",
    uploads_twice: "made.files",
    wrong_content_type: "made.objects[0].content_type",
    wrong_key: "made.objects[0].path",
    forgets_the_row: "made.rows",
    wrong_hash_in_the_row: "made.rows[0].sha256",
    other_id: "result.kimi_file_id",
    foreign_key: "error.type",
    fails: "error.type",
}


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.__name__)
def test_a_defect_of_the_candidate_is_seen(defect: Any, make_bench: MakeBench, tmp_path: Path) -> None:
    """What makes or answers something else differs in the field that is wrong, and only what the call made stays."""
    bench = make_bench("kimi", "supabase")
    comparison = bench.upload(document(tmp_path, TEXT), migration=declared("kimi", candidate=defect))
    assert comparison.verdict in {Verdict.DIFFERENT, Verdict.CANDIDATE_ERROR}, comparison.detail
    assert any(found.field.startswith(DEFECTS[defect]) for found in comparison.differences), comparison.differences
    held = bench.state()
    assert (len(held.files), len(held.objects), len(held.rows)) == (1, 1, 1)
    assert not held.marked
    assert not bench.notices


@pytest.mark.parametrize(
    "defect", [wrong_purpose, forgets_the_row, wrong_hash_in_the_row], ids=lambda one: one.__name__
)
def test_a_defect_is_seen_when_the_candidate_serves(defect: Any, make_bench: MakeBench, tmp_path: Path) -> None:
    """Then it is what the call itself made that is not what legacy makes."""
    bench = make_bench("kimi", "embedded")
    migration = declared("kimi", candidate=defect)
    comparison = bench.upload(document(tmp_path, TEXT), migration=migration, serve=Side.CANDIDATE)
    assert comparison.verdict is Verdict.DIFFERENT, comparison.detail
    assert any(found.field.startswith(DEFECTS[defect]) for found in comparison.differences), comparison.differences
    assert not bench.state().marked


def test_a_swallowed_error_is_seen(make_bench: MakeBench, tmp_path: Path) -> None:
    """A candidate that answers where legacy fails is found out."""
    bench = make_bench("kimi", "embedded")
    comparison = bench.upload(tmp_path / "missing.txt", migration=declared("kimi", candidate=swallows_errors))
    assert comparison.verdict is Verdict.LEGACY_ERROR


def test_errors_for_good_are_compared(make_bench: MakeBench, tmp_path: Path) -> None:
    """What no patience will change is met by both sides, in the same words, although the files have other names."""
    bench = make_bench("kimi", "embedded", kimi_max_bytes=10)
    for path in (
        tmp_path / "missing.txt",
        tmp_path,
        document(tmp_path, b"too large for that"),
        tmp_path / "x" / "y.txt",
    ):
        comparison = bench.upload(path)
        assert comparison.verdict is Verdict.SAME_ERROR, (path, comparison.detail, comparison.differences)
    assert bench.upload(document(tmp_path, b"short", "noextension")).verdict is Verdict.SAME_ERROR
    assert not bench.state().marked


@pytest.mark.parametrize("service", ["provider", "storage"])
def test_one_changed_byte_is_seen(
    service: str, make_bench: MakeBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A single byte that arrives changed shows in what is read back, wherever it arrives."""
    bench = make_bench("kimi", "supabase")
    write = FileBody.write

    bodies: list[Any] = []

    async def bent(self: Any, writer: Any) -> None:
        bodies.append(self)
        flip = len(bodies) == (1 if service == "storage" else 2)
        await write(self, cast("Any", FlippingWriter(writer)) if flip else writer)

    monkeypatch.setattr(FileBody, "write", bent)
    comparison = bench.upload(document(tmp_path, TEXT))
    assert comparison.verdict is Verdict.DIFFERENT, comparison.detail
    wrong = "made.objects[0].content.sha256" if service == "storage" else "made.files[0].text.sha256"
    assert {found.field for found in comparison.differences} == {wrong}


def test_harm_to_what_the_call_made_is_seen(make_bench: MakeBench, tmp_path: Path) -> None:
    """A candidate that touches the call's own file, object or row is found out, although its own things are right."""
    bench = make_bench("kimi", "embedded")

    async def harms(file_path: Any, storage: Any, purpose: str = "file-extract") -> Any:
        [own] = bench.state().files
        async with ServiceClient() as client:
            await ProviderFiles("kimi", bench.settings, client).remove(own)
        return await upload(file_path, storage, purpose)

    comparison = bench.upload(document(tmp_path, TEXT), migration=declared("kimi", candidate=harms))
    assert comparison.verdict is Verdict.DIFFERENT
    [harm] = [found for found in comparison.differences if found.field == "made.of_the_primary"]
    assert "changed: the file" in harm.candidate
    assert not bench.state().marked
