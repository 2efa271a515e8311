"""Looking at the services and removing what is there: retried, strict with what they say, bounded."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from aiohttp import web

from tools.recovery.provider_files import MAX_PAGES, ProviderFiles
from tools.recovery.service_client import POLICY, NoListingError, ServiceClient, ServiceFailedError
from tools.recovery.stored import MAX_LISTED, SupabaseContents, contents_at
from tools.settings import Settings

Answer = Callable[[web.Request], web.Response]


@dataclass(frozen=True)
class Asked:
    """A request that arrived."""

    query: dict[str, str]
    headers: dict[str, str]
    document: Any


class Service:
    """Answers as it is told; `waited` is what was waited between its answers."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: list[Asked] = []
        self.waited: list[float] = []
        self.answer: Answer = answering({})
        self.client = ServiceClient(self.sleep, replace(POLICY, max_bytes=200_000))

    async def sleep(self, seconds: float) -> None:
        self.waited.append(seconds)

    async def handle(self, request: web.Request) -> web.Response:
        document = await request.json() if request.can_read_body else None
        self.asked.append(Asked(dict(request.query), dict(request.headers), document))
        return self.answer(request)

    def settings(self) -> Settings:
        where = {f"{name}_api_url": self.url for name in ("kimi", "glm")}
        keys = {f"{name}_api_key": "planted" for name in ("kimi", "glm")}
        return Settings.model_validate(where | keys)

    def files(self, provider: str = "kimi") -> ProviderFiles:
        return ProviderFiles(provider, self.settings(), self.client)

    def supabase(self) -> SupabaseContents:
        return SupabaseContents(url=self.url, key="planted", bucket="files", client=self.client)


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    application = web.Application()
    runner = web.AppRunner(application)
    made = Service("")
    application.router.add_route("*", "/{path:.*}", made.handle)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = "http://{}:{}".format(*runner.addresses[0][:2])
    try:
        async with made.client:
            yield made
    finally:
        await runner.cleanup()


def answering(document: Any, status: int = 200) -> Answer:
    return lambda _request: web.json_response(document, status=status)


@pytest.mark.parametrize("status", [408, 423, 429, 500, 503, 544])
async def test_a_transient_failure_is_retried(service: Service, status: int) -> None:
    """So often, waiting longer each time; then it is an error that says what was asked."""
    service.answer = answering({}, status)
    with pytest.raises(ServiceFailedError, match=f"look at x at Kimi: HTTP {status}, {POLICY.attempts} times"):
        await service.files().look(["x"])
    assert len(service.asked) == POLICY.attempts
    assert service.waited == [0.1, 0.2, 0.4, 0.8]


async def test_a_refusal_is_not_retried(service: Service) -> None:
    """An answer is an answer."""
    service.answer = answering({}, 401)
    with pytest.raises(ServiceFailedError, match="HTTP 401"):
        await service.files().look(["x"])
    assert len(service.asked) == 1


async def test_a_broken_connection_is_retried(service: Service) -> None:
    """As a transient failure."""

    def cut(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    service.answer = cut
    with pytest.raises(ServiceFailedError, match=f"ServerDisconnectedError, {POLICY.attempts} times"):
        await service.files().look(["x"])
    assert len(service.waited) == POLICY.attempts - 1


async def test_an_endless_answer_is_not_read(service: Service) -> None:
    """Up to the bound, and not beyond."""
    service.answer = lambda _request: web.Response(body=b"x" * 200_001)
    with pytest.raises(ServiceFailedError, match="longer than 200000 bytes"):
        await service.files().marked("shadow-1-")


async def test_an_endless_listing_is_no_listing(service: Service) -> None:
    """Beyond so many pages it is not known what is there."""
    service.answer = answering({"data": [{"id": "a", "filename": "b"}], "has_more": True})
    with pytest.raises(NoListingError, match="more than"):
        await service.files("glm").marked("shadow-1-")
    assert len(service.asked) == MAX_PAGES


@pytest.mark.parametrize("document", [[], {}, {"data": [{"filename": "no id"}]}, {"data": ["a"]}])
async def test_a_strange_listing_is_no_listing(service: Service, document: Any) -> None:
    """An entry that cannot be read might be the one that is looked for."""
    service.answer = answering(document)
    with pytest.raises(NoListingError):
        await service.files().marked("shadow-1-")


async def test_every_page_of_objects_and_rows_is_read(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """And where there is no last one, it is not known what is there."""
    objects = [{"name": f"shadow-1-{number}", "id": "1"} for number in range(MAX_LISTED)]
    service.answer = lambda _request: web.json_response(objects if len(service.asked) == 1 else objects[:1])
    assert len(await service.supabase().objects("kimi-gateway", "shadow-1-")) == MAX_LISTED + 1
    assert [asked.document["offset"] for asked in service.asked] == [0, MAX_LISTED]
    monkeypatch.setattr("tools.recovery.stored.MAX_PAGES", 2)
    service.answer = answering(objects)
    with pytest.raises(ServiceFailedError, match="there are 2000 or more"):
        await service.supabase().objects("kimi-gateway", "shadow-1-")
    with pytest.raises(ServiceFailedError, match="there are 2000 or more"):
        await service.supabase().rows()


async def test_a_file_that_is_gone_is_deleted(service: Service) -> None:
    """And one that a provider only says it received is not."""
    service.answer = answering({}, 404)
    await service.files().remove("x")
    service.answer = answering({"deleted": False})
    with pytest.raises(ServiceFailedError, match="not deleted"):
        await service.files().remove("x")


async def test_storages_true_status_counts(service: Service) -> None:
    """It is inside an answer with the status 400."""
    service.answer = answering({"statusCode": "404", "error": "not_found", "message": "Object not found"}, 400)
    assert await service.supabase().look("kimi-gateway/a.txt") is None


async def test_keys_and_ids_are_quoted(service: Service) -> None:
    """Whatever is in a name or an id, it is one name and one id to the service."""
    service.answer = answering([])
    await service.supabase().rows("kimi", ids=['a,b")', "c\\"])
    await service.supabase().remove(["kimi-gateway/Größe #1?.txt"])
    select, remove = service.asked
    assert select.query["provider_file_id"] == 'in.("a,b\\")","c\\\\")'
    [key] = remove.document["prefixes"]
    assert key.isascii()
    assert select.headers["apikey"] == "planted"


async def test_a_storage_is_found_again_under_its_address(service: Service, tmp_path: Any) -> None:
    """As it was written down, as long as the configuration leads there."""
    supabase = {"supabase_url": service.url, "supabase_service_role_key": "planted"}
    settings = Settings.model_validate(supabase)
    for address in (f"folder:{tmp_path}", service.supabase().address):
        found = contents_at(address, settings, service.client)
        assert found is not None
        assert found.address == address
    assert contents_at(service.supabase().address, Settings.model_validate({}), service.client) is None
