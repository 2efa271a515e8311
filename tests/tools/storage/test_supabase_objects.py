"""What the asynchronous side leaves in Storage, against the official client as its peer."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from supabase import Client, ClientOptions, create_client

from tools.sandbox import RunningSandbox
from tools.settings import MEGABYTE
from tools.storage.placement import encode_key
from tools.storage.port import StorageRefusedError
from tools.storage.supabase import SupabaseStorage
from tools.transport.reading import open_source

BUCKET = "user-files"
GIVEN_BY_STORAGE = {"id", "version", "last_modified", "created_at"}
SIZES = [0, 1, 6 * MEGABYTE - 1, 6 * MEGABYTE, 6 * MEGABYTE + 1, 12 * MEGABYTE, 20_000_000]
NAMES = [
    "plain.txt",
    'say "hi".txt',
    "it's ünï çødé 漢字 🙂.md",
    "two\nlines\t\x01.txt",
    "100%41=3D+&?#;:@.txt",
    "n" * 251 + ".txt",
    os.fsdecode(b"no utf-8 \xff.txt"),
]
TYPES = [
    None,
    "text/plain",
    "text/plain; charset=utf-8",
    'application/x-odd; name="a,b;c=d"',
    "application/vnd.api+json",
    "not a type",
    "text/größe",
    "application/json",
]


@pytest.fixture
def peer(sandbox: RunningSandbox) -> Iterator[Client]:
    with httpx.Client(http2=False) as http:
        yield create_client(sandbox.supabase_url, sandbox.key, ClientOptions(httpx_client=http))


Seen = dict[str, Any]
Left = Callable[[int, str, str | None], Awaitable[tuple[Seen, Seen]]]


@pytest.fixture
def left(supabase: SupabaseStorage, peer: Client, tmp_path: Path) -> Left:
    """What `object/info` says after the official client's upload, and after ours, of the same content."""

    def info(path: str) -> Seen:
        found = dict(peer.storage.from_(BUCKET).info(encode_key(path)))
        assert found.pop("name") == encode_key(path)
        return {name: value for name, value in found.items() if name not in GIVEN_BY_STORAGE}

    async def upload(size: int, name: str, mime_type: str | None) -> tuple[Seen, Seen]:
        content = os.urandom(size)
        file = tmp_path / "source"
        file.write_bytes(content)
        supabase.upload_file(f"theirs/{name}", content, name, mime_type, "user_upload")
        source = await open_source(file)
        await supabase.upload_file_streaming(f"ours/{name}", source, name, mime_type, "user_upload")
        return info(f"theirs/{name}"), info(f"ours/{name}")

    return upload


@pytest.mark.parametrize("size", SIZES)
async def test_an_object_of_any_size_is_what_the_official_client_leaves(size: int, left: Left) -> None:
    """Size, digest, content type, cache control and metadata, read back from Storage."""
    theirs, ours = await left(size, "a.bin", "application/x-thing")
    assert ours == theirs
    assert ours["size"] == size
    assert ours["cache_control"] == "max-age=3600"
    assert ours["metadata"]["file_type"] == "user_upload"


@pytest.mark.parametrize("size", [1000, 6 * MEGABYTE + 1], ids=["small", "large"])
@pytest.mark.parametrize("name", NAMES)
async def test_an_object_of_any_name_is_what_the_official_client_leaves(name: str, size: int, left: Left) -> None:
    """No name is lost or bent on its way through a header or through base64."""
    theirs, ours = await left(size, name, "text/plain")
    assert ours == theirs


@pytest.mark.parametrize("size", [1000, 6 * MEGABYTE + 1], ids=["small", "large"])
@pytest.mark.parametrize("mime_type", TYPES)
async def test_an_object_of_any_type_is_what_the_official_client_leaves(
    mime_type: str | None, size: int, left: Left
) -> None:
    """Whether it stands in front of a body or travels with the announcement of a resumable upload."""
    theirs, ours = await left(size, "a.bin", mime_type)
    assert ours == theirs
    assert ours["content_type"] == (mime_type or "application/octet-stream")


@pytest.mark.parametrize("mime_type", ["multipart/form-data", "multipart/mixed; boundary=x", "two\nlines"])
async def test_a_type_that_no_body_can_have_is_announced(
    mime_type: str, supabase: SupabaseStorage, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    """A stored form is not taken for a form that stores, and nothing is smuggled into a head."""
    file = tmp_path / "source"
    file.write_bytes(b"one")
    with contextlib.suppress(StorageRefusedError):  # what is no type at all is for Storage to judge
        await supabase.upload_file_streaming("a", await open_source(file), "a", mime_type, "user_upload")
    assert [request["operation"] for request in sandbox.requests()][:1] == ["tus.create"]
    assert [kept["content_type"] for kept in sandbox.state()["supabase"]["objects"]] in ([], [mime_type])


async def test_pieces_begin_above_six_mebibytes(
    supabase: SupabaseStorage, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    """Up to the limit one request, above it pieces of exactly that size."""
    file = tmp_path / "source"
    for size, expected in ((6 * MEGABYTE, []), (12 * MEGABYTE + 5, [6 * MEGABYTE, 6 * MEGABYTE, 5])):
        file.write_bytes(os.urandom(size))
        await supabase.upload_file_streaming(f"a/{size}", await open_source(file), "a", None, "user_upload")
        assert [request["body_bytes"] for request in sandbox.requests("supabase", "tus.patch")] == expected
