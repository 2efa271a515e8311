"""Storage as the recorder plays it, asked directly."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
import pytest

from shim.http.facts import MAX_FIELD_BYTES, RequestTarget
from shim.http.recorder import AnswerBook, LoopbackRecorder
from shim.http.recording import Exchange
from tools.shadowing import recorded_storage as storing
from tools.shadowing.replay import upload_recorder

STORING = RequestTarget("supabase", "POST", "/storage/v1/object/b/a.bin")
TUS = {"Tus-Resumable": "1.0.0"}
PIECE = {**TUS, "Content-Type": "application/offset+octet-stream"}


def answered(status: int, document: object) -> tuple[RequestTarget, Exchange]:
    body = json.dumps(document).encode()
    return STORING, Exchange(method="POST", url="u", status=status, body=body)


STORED = answered(200, {"Key": "b/a.bin", "Id": "the-id"})
REFUSED = answered(400, {"statusCode": "415", "error": "invalid_mime_type", "message": "mime type x is not supported"})


@dataclass
class Rehearsed:
    """A recorder, and a client for it."""

    recorder: LoopbackRecorder
    client: aiohttp.ClientSession

    @property
    def storage(self) -> str:
        return f"{self.recorder.address}/supabase/storage/v1"

    async def announce(self, length: int) -> aiohttp.ClientResponse:
        values = {"bucketName": "b", "objectName": "a.bin", "cacheControl": "60", "metadata": "{}"}
        said = ",".join(f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in values.items())
        headers = {**TUS, "Upload-Length": str(length), "Upload-Metadata": said}
        return await self.client.post(f"{self.storage}/upload/resumable", headers=headers)

    async def piece(self, location: str, offset: object, content: bytes) -> aiohttp.ClientResponse:
        return await self.client.patch(location, headers={**PIECE, "Upload-Offset": str(offset)}, data=content)


@pytest.fixture
async def rehearsed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rehearsed]:
    monkeypatch.setattr(storing, "STORED_PIECE_BYTES", 3)
    recorder = upload_recorder(AnswerBook([request.param] if request.param else []), {})
    async with recorder.serving(), aiohttp.ClientSession() as client:
        yield Rehearsed(recorder, client)


@pytest.mark.parametrize("rehearsed", [STORED], indirect=True)
async def test_pieces_get_the_id_that_a_form_was_answered_with(rehearsed: Rehearsed) -> None:
    """Announced, sent, resumed and looked at as in the protocol."""
    location = (await rehearsed.announce(6)).headers["Location"]
    assert (await rehearsed.piece(location, 0, b"one")).headers["Upload-Offset"] == "3"
    head = await rehearsed.client.head(location, headers=TUS)
    assert (head.headers["Upload-Offset"], head.headers["Upload-Length"]) == ("3", "6")
    assert (await rehearsed.piece(location, 3, b"two")).status == 204
    info = await rehearsed.client.get(f"{rehearsed.storage}/object/info/b/a.bin")
    assert (await info.json())["id"] == "the-id"
    [fact] = rehearsed.recorder.seen
    assert (fact["outcome"], fact["length"], fact["cache_control"]) == ("stored", 6, "max-age=60")


@pytest.mark.parametrize("rehearsed", [STORED], indirect=True)
async def test_what_the_protocol_forbids_is_refused(rehearsed: Rehearsed) -> None:
    """With true statuses, and without any fact."""
    location = (await rehearsed.announce(6)).headers["Location"]
    assert (await rehearsed.piece(location, 1, b"x")).status == 409
    assert (await rehearsed.piece(location, "many", b"x")).status == 400
    assert (await rehearsed.piece(location, 0, b"tiny")).status == 400
    assert (await rehearsed.piece(location, 0, b"too long")).status == 413
    assert (await rehearsed.client.put(location)).status == 405
    assert (await rehearsed.piece(f"{location}0", 0, b"x")).status == 404


@pytest.mark.parametrize("rehearsed", [STORED], indirect=True)
async def test_an_upload_that_was_given_up_never_was_complete(rehearsed: Rehearsed) -> None:
    """Its fact stays and says so."""
    location = (await rehearsed.announce(6)).headers["Location"]
    assert (await rehearsed.client.delete(location, headers=TUS)).status == 204
    assert (await rehearsed.client.head(location, headers=TUS)).status == 404
    assert [fact["outcome"] for fact in rehearsed.recorder.seen] == ["never complete"]


@pytest.mark.parametrize("rehearsed", [REFUSED], indirect=True)
async def test_a_refusal_is_worded_as_the_protocol_has_it(rehearsed: Rehearsed) -> None:
    """True status and text before the first byte; a client that asks again is refused again, and it is one fact."""
    for _ in range(3):
        refused = await rehearsed.announce(6)
        assert (refused.status, await refused.text()) == (415, "mime type x is not supported")
    [fact] = rehearsed.recorder.seen
    assert (fact["outcome"], fact["length"]) == ("refused", 6)


@pytest.mark.parametrize("rehearsed", [None], indirect=True)
async def test_an_object_that_the_primary_never_stored_is_not_taken(rehearsed: Rehearsed) -> None:
    """In pieces or whole, it stands out as one that was not recorded; and there is nothing to look at."""
    assert (await rehearsed.announce(6)).status == 501
    assert (await rehearsed.client.post(f"{rehearsed.storage}/object/b/a.bin", data=b"whole!")).status == 501
    assert [fact["outcome"] for fact in rehearsed.recorder.seen] == ["not recorded"]
    assert (await rehearsed.client.get(f"{rehearsed.storage}/object/info/b/a.bin")).status == 400


@pytest.mark.parametrize("rehearsed", [STORED], indirect=True)
async def test_a_long_field_is_kept_by_its_digest(rehearsed: Rehearsed) -> None:
    """What a form says is held up to a bound."""
    form = aiohttp.FormData({"metadata": "x" * (MAX_FIELD_BYTES + 1)})
    form.add_field("file", b"one", filename="a.bin")
    assert (await rehearsed.client.post(f"{rehearsed.storage}/object/b/a.bin", data=form)).status == 200
    [fact] = rehearsed.recorder.seen
    assert str(fact["metadata"]).startswith(f"({MAX_FIELD_BYTES + 1} bytes with the sha256 ")
