"""Resumable uploads, spoken as the TUS protocol has it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping

import httpx
import pytest
from supabase import Client

from tests.tools.sandbox.conftest import BUCKET
from tools.sandbox import FaultKind, RunningSandbox

PIECE = 6 * 1024 * 1024
CONTENT = bytes(range(256)) * 4096 * 7  # one piece of 6 MiB and a last one of 1 MiB


def _metadata(**values: str) -> str:
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in values.items())


class Tus:
    """A TUS client as the protocol's text describes it."""

    def __init__(self, sandbox: RunningSandbox, transport: httpx.Client) -> None:
        self._transport = transport
        self._headers = {"Tus-Resumable": "1.0.0"}
        self._endpoint = f"{sandbox.supabase_url}/storage/v1/upload/resumable"

    def create(self, length: int, name: str = "big.bin", **headers: str) -> httpx.Response:
        metadata = _metadata(bucketName=BUCKET, objectName=name, contentType="application/x-big", metadata='{"a": 1}')
        return self._send(
            "POST", self._endpoint, {"Upload-Length": str(length), "Upload-Metadata": metadata, **headers}
        )

    def patch(self, location: str, offset: int, content: bytes, **headers: str) -> httpx.Response:
        fixed = {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
        return self._send("PATCH", location, {**fixed, **headers}, content)

    def offset(self, location: str) -> int:
        return int(self._send("HEAD", location, {}).headers["Upload-Offset"])

    def delete(self, location: str) -> httpx.Response:
        return self._send("DELETE", location, {})

    def _send(self, method: str, url: str, headers: Mapping[str, str], content: bytes = b"") -> httpx.Response:
        return self._transport.request(method, url, headers={**self._headers, **headers}, content=content)


@pytest.fixture
def tus(sandbox: RunningSandbox, http: httpx.Client) -> Tus:
    return Tus(sandbox, http)


def test_pieces_become_an_object(tus: Tus, supabase: Client, sandbox: RunningSandbox) -> None:
    """Two pieces make one object with type and metadata; nothing is left of the upload."""
    created = tus.create(len(CONTENT))
    location = created.headers["Location"]
    assert created.status_code == 201
    first = tus.patch(location, 0, CONTENT[:PIECE])
    assert (first.status_code, first.headers["Upload-Offset"]) == (204, str(PIECE))
    assert tus.offset(location) == PIECE
    assert tus.patch(location, PIECE, CONTENT[PIECE:]).status_code == 204
    info = supabase.storage.from_(BUCKET).info("big.bin")
    assert (info["size"], info["content_type"], info["metadata"]) == (len(CONTENT), "application/x-big", {"a": 1})
    state = sandbox.state()["supabase"]
    assert (state["resumable"], state["objects"][0]["sha256"]) == ([], hashlib.sha256(CONTENT).hexdigest())


def test_broken_piece_is_taken_up_where_it_broke(tus: Tus, sandbox: RunningSandbox) -> None:
    """After a reset HEAD tells how much arrived, and the upload goes on from there."""
    location = tus.create(PIECE).headers["Location"]
    sandbox.inject(FaultKind.RESET_MID_BODY, "supabase", "tus.patch", after_bytes=1_000_000)
    with pytest.raises(httpx.TransportError):
        tus.patch(location, 0, CONTENT[:PIECE])
    assert tus.offset(location) == 1_000_000
    assert tus.patch(location, 1_000_000, CONTENT[1_000_000:PIECE]).status_code == 204
    stored = sandbox.state()["supabase"]["objects"][0]
    assert stored["sha256"] == hashlib.sha256(CONTENT[:PIECE]).hexdigest()


def test_conflicts_are_told_with_true_statuses(tus: Tus, supabase: Client) -> None:
    """A wrong offset is 409, a piece of the wrong size 400, too much 413, a wrong type 415."""
    location = tus.create(len(CONTENT)).headers["Location"]
    answers = (
        tus.patch(location, 5, CONTENT[:PIECE]),
        tus.patch(location, 0, CONTENT[:1000]),
        tus.patch(location, 0, CONTENT + b"x"),
        tus.patch(location, 0, CONTENT[:PIECE], **{"Content-Type": "text/plain"}),
    )
    assert [answer.status_code for answer in answers] == [409, 400, 413, 415]
    assert all(answer.headers["Content-Type"].startswith("text/plain") for answer in answers)
    supabase.storage.from_(BUCKET).upload("taken.bin", b"x")
    assert tus.create(5, "taken.bin").status_code == 409
    assert tus.create(5, "taken.bin", **{"x-upsert": "true"}).status_code == 201


@pytest.mark.parametrize(("given", "kept"), [("60", "max-age=60"), ("max-age=60", "no-cache")])
def test_only_seconds_are_a_cache_control(tus: Tus, supabase: Client, given: str, kept: str) -> None:
    """An announcement gives a number; Storage makes the header of it."""
    metadata = _metadata(bucketName=BUCKET, objectName="empty.bin", cacheControl=given)
    tus.create(0, **{"Upload-Metadata": metadata})
    assert supabase.storage.from_(BUCKET).info("empty.bin")["cache_control"] == kept


def test_upload_can_be_given_up(tus: Tus, sandbox: RunningSandbox) -> None:
    """DELETE ends an upload and removes what had arrived."""
    location = tus.create(len(CONTENT)).headers["Location"]
    tus.patch(location, 0, CONTENT[:PIECE])
    assert tus.delete(location).status_code == 204
    assert tus.delete(location).status_code == 404
    assert list((sandbox.home / "bodies").iterdir()) == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Tus-Resumable": "0.9"}, 412),
        ({"Upload-Length": "many"}, 400),
        ({"Upload-Metadata": "bucketName ???"}, 400),
        ({"Upload-Metadata": _metadata(bucketName="nowhere", objectName="a")}, 404),
        ({"Upload-Metadata": _metadata(bucketName=BUCKET, objectName="grün")}, 400),
        ({"Upload-Metadata": _metadata(bucketName=BUCKET, objectName="a", metadata="[]")}, 400),
    ],
)
def test_malformed_creation_is_refused(tus: Tus, headers: dict[str, str], status: int) -> None:
    """What cannot be an upload is refused before a byte of it."""
    assert tus.create(5, **headers).status_code == status
