"""Objects in Supabase: legacy sends forms, the asynchronous side raw bodies and pieces, and both mean the same."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from migration import Comparison, Migration, Side
from migration.model import Verdict
from migration.routing import Shim
from tests.tools.shadowing.bench import DECLARED, Bench, World, document
from tools.engine.gateway import GatewayUpload
from tools.migrations import MIGRATIONS
from tools.providers.kimi.kimi_files import KimiUploadFilesTool
from tools.providers.spec import KIMI
from tools.sandbox import Fault, FaultKind
from tools.settings import MEGABYTE, get_settings, use_settings
from tools.storage import get_storage
from tools.storage import supabase_pooled as pooled
from tools.storage import supabase_terms as terms
from tools.storage import tus_policy as patience
from tools.storage import tus_policy as resumable
from tools.storage.placement import FoundObject, encode_key
from tools.storage.supabase_pooled import ask
from tools.storage.supabase_terms import RAW_MAX_BYTES
from tools.transport.loops import SYSTEM_CLOCK
from tools.transport.reading import open_source
from tools.transport.upload import FileBody

SMALL, LARGE = 100_000, RAW_MAX_BYTES + MEGABYTE

pytestmark = pytest.mark.parametrize("storage", ["supabase"], indirect=True)


def compared(bench: Callable[..., Bench], world: World, size: int, serve: Side = Side.LEGACY) -> Comparison:
    """The verdict on one upload of so many bytes."""
    return bench().compare(document(world.folder, os.urandom(size), 'Größe "1".bin'), world.storage, serve=serve)


@pytest.mark.parametrize("serve", Side)
@pytest.mark.parametrize("size", [1, RAW_MAX_BYTES, RAW_MAX_BYTES + 1, 20_000_000])
def test_a_form_a_body_and_pieces_are_the_same_object(
    size: int, serve: Side, bench: Callable[..., Bench], world: World
) -> None:
    """With either side serving, and on either side of the size from which objects go in pieces."""
    comparison = compared(bench, world, size, serve)
    assert comparison.verdict is Verdict.IDENTICAL, (comparison.detail, comparison.differences)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind=FaultKind.DROP_AFTER_COMMIT, service="supabase", operation="tus.create"),
        Fault(kind=FaultKind.RESET_MID_BODY, service="supabase", operation="tus.patch", times=2),
        Fault(kind=FaultKind.DROP_AFTER_COMMIT, service="supabase", operation="tus.patch", times=2),
        Fault(kind=FaultKind.SERVER_ERROR, service="supabase", operation="tus.patch"),
        Fault(kind=FaultKind.OVERLOADED, service="supabase", operation="object.info"),
    ],
    ids=lambda fault: f"{fault.operation} {fault.kind}",
)
def test_an_upload_that_was_resumed_is_the_same_object(fault: Fault, bench: Callable[..., Bench], world: World) -> None:
    """What it took the primary to bring its pieces there is not compared: its object is."""
    world.sandbox.set_faults([fault])
    comparison = compared(bench, world, LARGE, Side.CANDIDATE)
    assert comparison.verdict is Verdict.IDENTICAL, (comparison.detail, comparison.differences)


@pytest.mark.parametrize("serve", Side)
def test_several_large_files_at_once_are_the_same_objects(
    serve: Side, bench: Callable[..., Bench], world: World
) -> None:
    """Objects that grow side by side are told apart, whichever is complete first."""
    tool = KimiUploadFilesTool(world.storage)
    files = [document(world.folder, os.urandom(LARGE + number), f"{number}.bin") for number in range(3)]
    several: Any = bench()
    declared = MIGRATIONS["tools.providers.kimi.kimi_files:KimiUploadFilesTool._run"]
    several.upload = Shim(declared, KimiUploadFilesTool._run, several.runtime)
    comparison = several.compare(tool, files, serve=serve)
    assert comparison.verdict is Verdict.IDENTICAL, (comparison.detail, comparison.differences)


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """A way in which storing fails for both protocols alike."""

    name: str
    faults: tuple[FaultKind, ...] = ()
    limits: dict[str, int] = field(default_factory=dict)
    verdict: Verdict = Verdict.SAME_ERROR


TROUBLES = (
    Trouble(name="server error", faults=(FaultKind.SERVER_ERROR,)),
    Trouble(name="overloaded", faults=(FaultKind.OVERLOADED,)),
    Trouble(name="too many", faults=(FaultKind.RATE_LIMITED,)),
    Trouble(name="proxy gave up", faults=(FaultKind.GATEWAY_TIMEOUT,)),
    Trouble(name="too large", limits={"storage_max_bytes": 50_000}),
)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No time passes between two attempts."""
    monkeypatch.setattr(patience, "FIRST_DELAY", 0.0)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("serve", Side)
@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.name)
def test_refusals_are_the_same_in_every_protocol(
    trouble: Trouble, size: int, serve: Side, bench: Callable[..., Bench], world: World
) -> None:
    """Each side meets the primary's refusal in the words of its own protocol, and tells its caller the same."""
    world.sandbox.set_limits(**trouble.limits)
    world.sandbox.set_faults(
        Fault(kind=kind, service="supabase", operation=operation, times=None)
        for kind in trouble.faults
        for operation in ("object.upload", "tus.create")
    )
    comparison = compared(bench, world, size, serve)
    assert comparison.verdict is trouble.verdict, (comparison.detail, comparison.differences)


@pytest.mark.parametrize("serve", Side)
@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
def test_finding_a_place_is_the_same_in_every_protocol(
    size: int, serve: Side, bench: Callable[..., Bench], world: World
) -> None:
    """The same content again, other content under the same name: looks and places agree."""
    one, other = os.urandom(size), os.urandom(size)
    with use_settings(get_settings().model_copy(update={"supabase_bucket": "fresh"})):
        storage = get_storage()
        for content in (one, one, other):
            comparison = bench().compare(document(world.folder, content, "same.bin"), storage, serve=serve)
            assert comparison.verdict is Verdict.IDENTICAL, (comparison.detail, comparison.differences)


Defect = Callable[[pytest.MonkeyPatch], Migration | None]


async def provider_before_storage(file_path: Path, storage: Any, purpose: str = "file-extract") -> Any:
    source = await open_source(Path(file_path))
    upload = GatewayUpload(
        provider=KIMI, source=source, storage=storage, purpose=purpose, clock=SYSTEM_CLOCK, journaled=None
    )
    sent, copy = await upload.send(), await upload.store()
    await upload.record(copy, sent)
    return KIMI.result(source, provider_file_id=sent, supabase_file_id=copy)


def wrong_order(_: pytest.MonkeyPatch) -> Migration:
    return dataclasses.replace(DECLARED, candidate=provider_before_storage)


def wrong_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    write = FileBody.write

    class Flipping:
        def __init__(self, writer: Any) -> None:
            self._writer = writer

        def __getattr__(self, name: str) -> Any:
            return getattr(self._writer, name)

        async def write(self, data: bytes) -> None:
            await self._writer.write(bytes([data[0] ^ 1]) + bytes(data[1:]))

    async def spoilt(body: FileBody, writer: Any) -> None:
        spoils = not body.content_type.startswith("multipart/")
        await write(body, cast("Any", Flipping(writer)) if spoils else writer)

    monkeypatch.setattr(FileBody, "write", spoilt)


def no_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terms.Description, "metadata_json", "{}")


def wrong_content_type(monkeypatch: pytest.MonkeyPatch) -> None:
    fitting = pooled.PooledObjects.__init__

    def describing(objects: Any, target: Any, source: Any, description: Any, clock: Any) -> None:
        fitting(objects, target, source, dataclasses.replace(description, content_type="text/x-wrong"), clock)

    monkeypatch.setattr(pooled.PooledObjects, "__init__", describing)


def wrong_cache_control(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pooled, "CACHE_CONTROL", "60")


def wrong_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pooled, "encode_key", lambda path: f"elsewhere/{encode_key(path)}")


def replaces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pooled, "NO_UPSERT", "true")
    monkeypatch.setattr(pooled, "_HEADERS", {**pooled._HEADERS, "x-upsert": "true"})


def replaces_by_its_last_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    async def asking(target: Any, method: str, parts: Any, **how: Any) -> Any:
        if method == "PATCH" and how["headers"]["Upload-Offset"] != "0":
            how["headers"]["x-upsert"] = "true"
        return await ask(target, method, parts, **how)

    monkeypatch.setattr(pooled, "ask", asking)


def other_key_of_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    async def asking(target: Any, *args: Any, **how: Any) -> Any:
        return await ask(dataclasses.replace(target, key="another"), *args, **how)

    monkeypatch.setattr(pooled, "ask", asking)


def never_completed(monkeypatch: pytest.MonkeyPatch) -> None:
    def first_piece(upload: Any, size: int, *_: Any) -> Any:
        yield resumable.Append(upload=upload.id, offset=0, length=min(size, resumable.PIECE_BYTES))
        return True

    def identified(*_: Any) -> Any:
        yield resumable.Wait(seconds=0)
        return FoundObject(object_id="guessed", size=0, sha256=None)

    monkeypatch.setattr(resumable, "_all_pieces", first_piece)
    monkeypatch.setattr(resumable, "_identified", identified)


def truncated(monkeypatch: pytest.MonkeyPatch) -> None:
    converse = resumable.upload_resumably
    monkeypatch.setattr(pooled, "upload_resumably", lambda *, size, **how: converse(size=size - 1, **how))


def sends_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    put = pooled.PooledObjects._put

    async def twice(objects: Any, key: str, action: str) -> Any:
        await put(objects, key, action)
        return await put(objects, key, action)

    monkeypatch.setattr(pooled.PooledObjects, "_put", twice)


DEFECTS: dict[Defect, str] = {
    wrong_order: "requests[0]",
    wrong_byte: "requests[0].sha256",
    no_metadata: "requests[0].metadata",
    wrong_content_type: "requests[0].content_type",
    wrong_cache_control: "requests[0].cache_control",
    wrong_key: "requests[0].path",
    replaces: "requests[0].upsert",
    other_key_of_the_project: "requests[0].credentials",
    sends_twice: "requests.count",
}
DEFECTS_IN_PIECES: dict[Defect, str] = {
    replaces_by_its_last_piece: "requests[0].upsert",
    never_completed: "requests[0].outcome",
    truncated: "requests[0].outcome",
}
"""What is wrong with the candidate, and the field in which it shows."""


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("defect", "size"),
    [*((defect, size) for defect in DEFECTS for size in (SMALL, LARGE)), *((one, LARGE) for one in DEFECTS_IN_PIECES)],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_a_defect_in_storing_is_seen(
    defect: Defect, size: int, bench: Callable[..., Bench], world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the asynchronous side stores otherwise than legacy is a difference, named for what it is."""
    migration = defect(monkeypatch) or DECLARED
    comparison = bench(migration).compare(document(world.folder, os.urandom(size), "data.bin"), world.storage)
    assert comparison.verdict in {Verdict.DIFFERENT, Verdict.CANDIDATE_ERROR}, comparison.detail
    expected = (DEFECTS | DEFECTS_IN_PIECES)[defect]
    assert any(found.field.startswith(expected) for found in comparison.differences), comparison.differences
