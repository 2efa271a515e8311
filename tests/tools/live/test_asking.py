"""Looking and removing: patient with services, strict with what they say, bounded."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tools.recovery import rest_client as asking
from tools.recovery.provider_files import MAX_PAGES, provider_files
from tools.recovery.rest_client import ATTEMPTS, Asker, NoListingError, ServiceFailedError
from tools.recovery.stored import MAX_LISTED, SupabasePlace
from tools.settings import Settings

URL = "https://service.example"
SETTINGS = Settings.model_validate(
    {"kimi_api_url": URL, "kimi_api_key": "planted", "glm_api_url": URL, "glm_api_key": "planted"}
)
Handler = Callable[[httpx.Request], httpx.Response]


class Service:
    """Answers as it is told; `waited` is what was waited between its answers."""

    def __init__(self, answer: Handler) -> None:
        self.requests: list[httpx.Request] = []
        self.waited: list[float] = []
        self._answer = answer

    def asker(self) -> Asker:
        def handle(request: httpx.Request) -> httpx.Response:
            self.requests.append(request)
            return self._answer(request)

        async def sleep(seconds: float) -> None:
            self.waited.append(seconds)

        return Asker(httpx.AsyncClient(transport=httpx.MockTransport(handle)), sleep)

    def supabase(self) -> SupabasePlace:
        return SupabasePlace(url=URL, key="planted", bucket="files", asker=self.asker())


def answering(document: Any, status: int = 200) -> Handler:
    return lambda _request: httpx.Response(status, json=document)


@pytest.mark.parametrize("status", [408, 423, 429, 500, 503, 544])
async def test_a_passing_failure_is_asked_again(status: int) -> None:
    """So often, waiting longer each time; then it is an error that says what was asked."""
    service = Service(answering({}, status))
    with pytest.raises(ServiceFailedError, match=f"look at x at Kimi: HTTP {status}, {ATTEMPTS} times"):
        await provider_files("kimi", SETTINGS, service.asker()).look(["x"])
    assert len(service.requests) == ATTEMPTS
    assert service.waited == sorted(service.waited)
    assert len(service.waited) == ATTEMPTS - 1


async def test_a_refusal_is_not_asked_again() -> None:
    """An answer is an answer."""
    service = Service(answering({}, 401))
    with pytest.raises(ServiceFailedError, match="HTTP 401"):
        await provider_files("kimi", SETTINGS, service.asker()).look(["x"])
    assert len(service.requests) == 1


async def test_a_broken_connection_is_asked_again() -> None:
    """As a failure that passes."""

    def cut(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("cut", request=request)

    service = Service(cut)
    with pytest.raises(ServiceFailedError, match="ReadError"):
        await service.supabase().remove(["a"])
    assert len(service.requests) == ATTEMPTS


async def test_an_endless_answer_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to the bound, and not beyond."""
    monkeypatch.setattr(asking, "MAX_ANSWER_BYTES", 1000)
    service = Service(lambda _request: httpx.Response(200, content=b"x" * 1001))
    with pytest.raises(ServiceFailedError, match="longer than 1000 bytes"):
        await provider_files("kimi", SETTINGS, service.asker()).marked("shadow-1-")


async def test_an_endless_listing_is_no_listing() -> None:
    """Beyond so many pages it is not known what is there."""
    service = Service(answering({"data": [{"id": "a", "filename": "b"}], "has_more": True}))
    with pytest.raises(NoListingError, match="more than"):
        await provider_files("glm", SETTINGS, service.asker()).marked("shadow-1-")
    assert len(service.requests) == MAX_PAGES


@pytest.mark.parametrize("document", [[], {}, {"data": [{"filename": "no id"}]}, {"data": ["a"]}])
async def test_a_strange_listing_is_no_listing(document: Any) -> None:
    """An entry that cannot be read might be the one that is looked for."""
    with pytest.raises(NoListingError):
        await provider_files("kimi", SETTINGS, Service(answering(document)).asker()).marked("shadow-1-")


async def test_a_listing_that_is_cut_off_is_none() -> None:
    """As many objects as a listing shows may not be all."""
    objects = [{"name": f"shadow-1-{number}", "id": "1"} for number in range(MAX_LISTED)]
    with pytest.raises(ServiceFailedError, match="does not list all"):
        await Service(answering(objects)).supabase().marked("kimi-gateway", "shadow-1-")


async def test_a_file_that_is_gone_is_deleted() -> None:
    """And one that a provider only says it received is not."""
    await provider_files("kimi", SETTINGS, Service(answering({}, 404)).asker()).remove("x")
    with pytest.raises(ServiceFailedError, match="not deleted"):
        await provider_files("kimi", SETTINGS, Service(answering({"deleted": False})).asker()).remove("x")


async def test_storages_true_status_counts() -> None:
    """It stands inside an answer with the status 400."""
    missing = answering({"statusCode": "404", "error": "not_found", "message": "Object not found"}, 400)
    assert await Service(missing).supabase().look("kimi-gateway/a.txt") is None


async def test_keys_and_ids_are_quoted() -> None:
    """Whatever is in a name or an id, it is one name and one id to the service."""
    service = Service(answering([]))
    place = service.supabase()
    await place.rows("kimi", ['a,b")', "c\\"])
    await place.remove(["kimi-gateway/Größe #1?.txt"])
    select, remove = service.requests
    assert select.url.params["provider_file_id"] == 'in.("a,b\\")","c\\\\")'
    [key] = json.loads(remove.content)["prefixes"]
    assert key.isascii()
    assert service.requests[0].headers["apikey"] == "planted"
