"""The storage stand-in, seen by `supabase`."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from storage3.exceptions import StorageApiError
from supabase import AsyncClient, Client

from tests.tools.sandbox.conftest import BUCKET
from tools.sandbox import RunningSandbox

CONTENT = b"The first line\n"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def _object_url(sandbox: RunningSandbox, name: str) -> str:
    return f"{sandbox.supabase_url}/storage/v1/object/{BUCKET}/{name}"


def test_object_lives_from_upload_to_removal(supabase: Client, sandbox: RunningSandbox) -> None:
    """An object is uploaded, described, listed, downloaded and removed; missing keys are skipped."""
    bucket = supabase.storage.from_(BUCKET)
    uploaded = bucket.upload(
        "kimi-gateway/a b.txt",
        CONTENT,
        {"content-type": "text/plain", "metadata": {"sha256": DIGEST}},
    )
    assert uploaded.full_path == f"{BUCKET}/kimi-gateway/a b.txt"
    info = bucket.info("kimi-gateway/a b.txt")
    assert (info["size"], info["content_type"], info["metadata"]) == (len(CONTENT), "text/plain", {"sha256": DIGEST})
    assert bucket.exists("kimi-gateway/a b.txt")
    assert not bucket.exists("kimi-gateway/b.txt")
    assert [(row["name"], row["id"]) for row in bucket.list()] == [("kimi-gateway", None)]
    assert [(row["name"], row["id"]) for row in bucket.list("kimi-gateway")] == [("a b.txt", info["id"])]
    assert bucket.download("kimi-gateway/a b.txt") == CONTENT
    assert sandbox.state()["supabase"]["objects"][0]["sha256"] == DIGEST
    removed = bucket.remove(["kimi-gateway/a b.txt", "kimi-gateway/missing.txt"])
    assert [row["name"] for row in removed] == ["kimi-gateway/a b.txt"]
    assert list((sandbox.home / "bodies").iterdir()) == []


async def test_asynchronous_client_is_served_alike(async_supabase: AsyncClient, tmp_path: Path) -> None:
    """The asynchronous client uploads a path and reads it back."""
    path = tmp_path / "a.txt"
    path.write_bytes(CONTENT)
    bucket = async_supabase.storage.from_(BUCKET)
    await bucket.upload("a.txt", path)
    assert await bucket.download("a.txt") == CONTENT
    assert len(await bucket.remove(["a.txt"])) == 1


def test_raw_body_is_an_upload_too(sandbox: RunningSandbox, supabase: Client, http: httpx.Client) -> None:
    """A raw body with its headers is stored like a form, and answered with Key and Id."""
    answer = http.post(
        _object_url(sandbox, "raw.bin"),
        content=CONTENT,
        headers={
            "Content-Type": "text/plain",
            "Cache-Control": "max-age=60",
            "x-metadata": base64.b64encode(json.dumps({"sha256": DIGEST}).encode()).decode(),
        },
    )
    info = supabase.storage.from_(BUCKET).info("raw.bin")
    assert (answer.status_code, answer.json()) == (200, {"Key": f"{BUCKET}/raw.bin", "Id": info["id"]})
    assert (info["size"], info["cache_control"], info["metadata"]) == (len(CONTENT), "max-age=60", {"sha256": DIGEST})
    assert sandbox.requests("supabase", "object.upload")[0]["body_sha256"] == DIGEST


def test_second_upload_is_a_duplicate_unless_it_upserts(
    supabase: Client, sandbox: RunningSandbox, http: httpx.Client
) -> None:
    """A taken key is refused with HTTP 400 and the status 409 inside; an upsert replaces the content."""
    bucket = supabase.storage.from_(BUCKET)
    bucket.upload("a.txt", b"old")
    with pytest.raises(StorageApiError) as refused:
        bucket.upload("a.txt", CONTENT)
    assert (refused.value.status, refused.value.code) == ("409", "Duplicate")
    answer = http.post(_object_url(sandbox, "a.txt"), content=CONTENT)
    assert answer.status_code == 400
    assert answer.json() == {
        "statusCode": "409",
        "error": "Duplicate",
        "message": "The resource already exists",
        "code": "KeyAlreadyExists",
    }
    assert bucket.download("a.txt") == b"old"
    bucket.upload("a.txt", CONTENT, {"upsert": "true"})
    assert bucket.download("a.txt") == CONTENT
    assert len(list((sandbox.home / "bodies").iterdir())) == 1


def test_bucket_sets_its_own_limits(supabase: Client) -> None:
    """A bucket is created once; its size limit and media types hold."""
    options: Any = {"file_size_limit": 10, "allowed_mime_types": ["text/*"]}
    assert supabase.storage.create_bucket("small", options=options)["name"] == "small"
    with pytest.raises(StorageApiError) as again:
        supabase.storage.create_bucket("small")
    assert again.value.status == "409"
    assert supabase.storage.get_bucket("small").file_size_limit == 10
    bucket = supabase.storage.from_("small")
    with pytest.raises(StorageApiError) as too_large:
        bucket.upload("a.txt", b"x" * 11, {"content-type": "text/plain"})
    assert (too_large.value.status, too_large.value.code) == ("413", "Payload too large")
    with pytest.raises(StorageApiError) as wrong_type:
        bucket.upload("a.png", b"x", {"content-type": "image/png"})
    assert (wrong_type.value.status, wrong_type.value.code) == ("415", "invalid_mime_type")
    bucket.upload("a.txt", b"x" * 10, {"content-type": "text/plain"})


@pytest.mark.parametrize("name", ["größe.txt", "a#b.txt", "a[1].txt", "a%25b.txt"])
def test_keys_have_a_small_alphabet(supabase: Client, name: str) -> None:
    """A key with any other character is InvalidKey."""
    with pytest.raises(StorageApiError) as refused:
        supabase.storage.from_(BUCKET).upload(name, CONTENT)
    assert (refused.value.status, refused.value.code) == ("400", "InvalidKey")


def test_unknown_bucket_and_object_are_404(supabase: Client) -> None:
    """What is not there is status 404, with different names for bucket and object."""
    with pytest.raises(StorageApiError) as bucket:
        supabase.storage.from_("nowhere").upload("a.txt", CONTENT)
    with pytest.raises(StorageApiError) as stored:
        supabase.storage.from_(BUCKET).info("a.txt")
    assert (bucket.value.status, bucket.value.code) == ("404", "Bucket not found")
    assert (stored.value.status, stored.value.code) == ("404", "not_found")


def test_listing_is_sorted_and_cut(supabase: Client) -> None:
    """Order, limit, offset and search of a listing hold."""
    bucket = supabase.storage.from_(BUCKET)
    for name in ("b.txt", "a.txt", "c.md"):
        bucket.upload(f"folder/{name}", CONTENT)
    names = [row["name"] for row in bucket.list("folder", {"sortBy": {"column": "name", "order": "desc"}, "limit": 2})]
    assert names == ["c.md", "b.txt"]
    assert [row["name"] for row in bucket.list("folder", {"offset": 2})] == ["c.md"]
    assert [row["name"] for row in bucket.list("folder", {"search": "txt"})] == ["a.txt", "b.txt"]


def test_without_a_key_nothing_is_given(sandbox: RunningSandbox) -> None:
    """A request without a key is Unauthorized in Storage's shape."""
    answer = httpx.get(_object_url(sandbox, "a.txt"))
    assert (answer.status_code, answer.json()["statusCode"], answer.json()["error"]) == (400, "403", "Unauthorized")
