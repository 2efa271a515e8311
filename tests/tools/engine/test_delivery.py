"""Persistent, but never twice: what happens after each kind of failure."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tools.engine.support import Reply, Waits, WireServer, chain_of, listed_file, listing_of
from tools.engine.delivery import deliver
from tools.engine.gateway import upload_through_gateway
from tools.engine.listing import claim
from tools.engine.throttle import LONGEST_HOLD_SECONDS
from tools.providers.spec import GLM, KIMI, Provider
from tools.sandbox import FaultKind, RunningSandbox
from tools.settings import Settings, use_settings
from tools.storage.local import LocalStorage
from tools.transport.errors import ConnectionNotMadeError, HttpStatusError, TransportError
from tools.transport.reading import open_source

MakeFile = Callable[[str, bytes], Path]

DROPPED = Reply(status=None)
OVERLOADED = Reply(status=429, body=b'{"error": {"message": "overloaded"}}')
FAILED = Reply(status=500, body=b'{"error": {"message": "failed"}}')


async def _deliver(provider: Provider, path: Path, waits: Waits) -> str:
    return await deliver(provider, await open_source(path), purpose="agent", clock=waits.clock)


PROVIDERS = pytest.mark.parametrize("provider", [KIMI, GLM], ids=["kimi", "glm"])


@PROVIDERS
@pytest.mark.usefixtures("wire_settings")
async def test_a_refusal_for_overload_is_repeated_as_often_as_by_the_sdk(
    wire: WireServer, make_file: MakeFile, waits: Waits, provider: Provider
) -> None:
    """429 means that nothing was made: it is sent again without a look at the listing."""
    wire.replies = [OVERLOADED]
    with pytest.raises(HttpStatusError):
        await _deliver(provider, make_file("a.txt", b"content"), waits)
    assert len(wire.posts) == len(wire.requests) == {"kimi": 3, "glm": 4}[provider.name]
    assert waits.seconds == {"kimi": [0.5, 1.0], "glm": [1.0, 2.0, 4.0]}[provider.name]


@PROVIDERS
@pytest.mark.usefixtures("wire_settings")
async def test_a_repeated_refusal_can_end_well(
    wire: WireServer, make_file: MakeFile, waits: Waits, provider: Provider
) -> None:
    """The whole file goes out again."""
    wire.replies = [OVERLOADED, Reply(status=409, body=b""), Reply(body=b'{"id": "late"}')]
    assert await _deliver(provider, make_file("a.txt", b"content"), waits) == "late"
    assert all(b"content" in request.body for request in wire.posts)


@pytest.mark.parametrize(
    ("headers", "waited"),
    [
        ({"Retry-After": "3"}, [3.0]),
        ({"Retry-After": "1.5"}, [1.5]),
        ({"Retry-After-Ms": "250", "Retry-After": "9"}, [0.25]),
        ({"Retry-After": "120"}, [120.0]),
        ({"Retry-After": "0"}, [0.5]),
        ({"Retry-After": "-4"}, [0.5]),
        ({"Retry-After": "nonsense"}, [0.5]),
        ({"Retry-After": "inf"}, [0.5]),
        ({"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"}, [0.5]),
    ],
)
@pytest.mark.usefixtures("wire_settings")
async def test_advice_about_waiting_is_taken_as_by_the_openai_sdk(
    wire: WireServer, make_file: MakeFile, waits: Waits, headers: dict[str, str], waited: list[float]
) -> None:
    """Sensible advice is followed, the rest is as if there were none."""
    wire.replies = [Reply(status=429, body=b"", headers=headers), Reply()]
    await _deliver(KIMI, make_file("a.txt", b"content"), waits)
    assert waits.seconds == waited


@pytest.mark.usefixtures("wire_settings")
async def test_advice_to_wait_for_long_ends_the_attempts(wire: WireServer, make_file: MakeFile, waits: Waits) -> None:
    """Above two minutes the openai SDK gives up at once; zai-sdk goes on, when the provider is left alone no more."""
    wire.replies = [Reply(status=429, body=b"", headers={"Retry-After": "121"})]
    path = make_file("a.txt", b"content")
    with pytest.raises(HttpStatusError):
        await _deliver(KIMI, path, waits)
    assert len(wire.posts) == 1
    wire.replies = [Reply(status=429, body=b"", headers={"Retry-After": "121"}), Reply()]
    await _deliver(GLM, path, waits)
    assert waits.seconds == [1.0, pytest.approx(LONGEST_HOLD_SECONDS - 1.0, abs=0.5)]


@pytest.mark.usefixtures("wire_settings")
async def test_the_server_may_say_whether_to_try_again(wire: WireServer, make_file: MakeFile, waits: Waits) -> None:
    """`x-should-retry` is obeyed both ways."""
    path = make_file("a.txt", b"content")
    wire.replies = [Reply(status=418, body=b"", headers={"x-should-retry": "true"}), Reply(body=b'{"id": "tea"}')]
    assert await _deliver(KIMI, path, waits) == "tea"
    wire.replies = [Reply(status=429, body=b"", headers={"x-should-retry": "false"})]
    with pytest.raises(HttpStatusError):
        await _deliver(KIMI, path, waits)
    assert len(wire.posts) == 3


@PROVIDERS
@pytest.mark.parametrize("reply", [DROPPED, FAILED, Reply(status=408, body=b"")], ids=["dropped", "500", "408"])
@pytest.mark.usefixtures("wire_settings")
async def test_a_file_whose_answer_was_lost_is_found_and_not_sent_again(
    wire: WireServer, make_file: MakeFile, waits: Waits, provider: Provider, reply: Reply
) -> None:
    """The listing decides: what is there is taken."""
    wire.replies = [reply]
    wire.listing = listing_of(listed_file("mine", filename=f"{provider.name}.txt"))
    found = await _deliver(provider, make_file(f"{provider.name}.txt", b"content"), waits)
    assert found == "mine"
    assert len(wire.posts) == 1
    assert not claim(provider.name, "mine")


@PROVIDERS
@pytest.mark.usefixtures("wire_settings")
async def test_a_file_that_is_not_listed_is_looked_for_twice_and_then_sent_again(
    wire: WireServer, make_file: MakeFile, waits: Waits, provider: Provider
) -> None:
    """A listing may lag; only after a second look the file counts as not made."""
    wire.replies = [DROPPED, Reply(body=b'{"id": "second"}')]
    wire.listing = listing_of()
    assert await _deliver(provider, make_file("a.txt", b"content"), waits) == "second"
    assert [request.line.split()[0] for request in wire.requests] == ["POST", "GET", "GET", "POST"]
    assert waits.seconds == [1.0, provider.sdk.first_delay]


@PROVIDERS
@pytest.mark.parametrize(
    "listing",
    [
        Reply(status=404, body=b"no such route"),
        Reply(status=500, body=b""),
        Reply(body=b"<html>"),
        Reply(body=b'{"data": [{"id": "x"}]}'),
        DROPPED,
    ],
    ids=["404", "500", "html", "odd entry", "dropped"],
)
@pytest.mark.usefixtures("wire_settings")
async def test_without_a_listing_nothing_is_sent_on_a_guess(
    wire: WireServer, make_file: MakeFile, waits: Waits, provider: Provider, listing: Reply
) -> None:
    """When it is not known whether the file was made, the error stands as legacy would raise it."""
    wire.replies = [DROPPED]
    wire.listing = listing
    with pytest.raises(TransportError) as caught:
        await _deliver(provider, make_file("a.txt", b"content"), waits)
    assert len(wire.posts) == 1
    assert provider.sdk.error_message(caught.value) == "Connection error."
    assert any("may have arrived" in note for note in caught.value.__notes__)


@pytest.mark.usefixtures("wire_settings")
async def test_an_unreachable_listing_proves_nothing_about_the_upload(
    wire: WireServer, make_file: MakeFile, waits: Waits
) -> None:
    """The upload may have arrived, so no proof of the contrary stands anywhere in the error's chain."""
    wire.replies = [DROPPED]
    sending = asyncio.create_task(_deliver(KIMI, make_file("a.txt", b"content"), waits))
    await wire.arrived.wait()
    wire.stop_listening()
    with pytest.raises(TransportError) as caught:
        await sending
    assert any("does not list its files: no connection" in note for note in caught.value.__notes__)
    assert not any(isinstance(link, ConnectionNotMadeError) for link in chain_of(caught.value))


@pytest.mark.usefixtures("wire_settings")
async def test_the_last_failure_is_looked_into_as_well(wire: WireServer, make_file: MakeFile, waits: Waits) -> None:
    """After the last attempt there is a look, and then the error of that attempt."""
    wire.replies = [DROPPED, DROPPED, FAILED]
    wire.listing = listing_of()
    with pytest.raises(HttpStatusError, match="answered 500"):
        await _deliver(KIMI, make_file("a.txt", b"content"), waits)
    methods = [request.line.split()[0] for request in wire.requests]
    assert methods == ["POST", "GET", "GET"] * 3


@pytest.mark.usefixtures("wire_settings")
async def test_a_connection_that_never_came_about_is_tried_again_and_proves_that_nothing_was_sent(
    wire_settings: Settings, make_file: MakeFile, waits: Waits
) -> None:
    """Refused connections need no look at the listing."""
    path = make_file("a.txt", b"content")
    with (
        use_settings(wire_settings.model_copy(update={"kimi_api_url": "http://127.0.0.1:1"})),
        pytest.raises(ConnectionNotMadeError, match="nothing was sent"),
    ):
        await _deliver(KIMI, path, waits)
    assert waits.seconds == [0.5, 1.0]


@pytest.mark.usefixtures("wire_settings")
async def test_after_something_was_sent_no_connection_proves_nothing(wire: WireServer, make_file: MakeFile) -> None:
    """The proof holds for all attempts together or not at all."""
    wire.replies = [Reply(status=429, body=b"", headers={"Connection": "close"})]
    path = make_file("a.txt", b"content")

    class GoesAway(Waits):
        async def sleep(self, seconds: float) -> None:
            await super().sleep(seconds)
            wire.stop_listening()

    clock = GoesAway().clock
    with pytest.raises(TransportError) as caught:
        await deliver(KIMI, await open_source(path), purpose="agent", clock=clock)
    assert not isinstance(caught.value, ConnectionNotMadeError)
    assert isinstance(caught.value.__cause__, OSError)


@PROVIDERS
async def test_a_dropped_answer_leaves_one_file_in_the_sandbox(
    *,
    sandbox: RunningSandbox,
    sandbox_settings: Settings,
    storage: LocalStorage,
    make_file: MakeFile,
    waits: Waits,
    provider: Provider,
) -> None:
    """End to end: the answer is lost after the file was made, and the caller gets that file's id."""
    del sandbox_settings
    sandbox.inject(FaultKind.DROP_AFTER_COMMIT, provider.name, "files.create")
    path = make_file('odd "name" \\ ü.txt', b"content")
    result = await upload_through_gateway(
        provider, path, storage, "agent" if provider is GLM else "file-extract", clock=waits.clock
    )
    [file] = sandbox.state()[provider.name]["files"]
    assert result[provider.id_key] == file["id"]
    assert len(sandbox.requests(provider.name, "files.create")) == 1


@PROVIDERS
@pytest.mark.parametrize(
    "fault", [FaultKind.RESET_MID_BODY, FaultKind.SERVER_ERROR, FaultKind.GATEWAY_TIMEOUT, FaultKind.OVERLOADED]
)
async def test_one_fault_is_survived_and_one_file_is_made(
    *,
    sandbox: RunningSandbox,
    sandbox_settings: Settings,
    storage: LocalStorage,
    make_file: MakeFile,
    waits: Waits,
    provider: Provider,
    fault: FaultKind,
) -> None:
    """A failure that made nothing is found to have made nothing, and the second attempt succeeds."""
    del sandbox_settings
    sandbox.inject(fault, provider.name, "files.create")
    path = make_file("a.txt", b"content" * 100_000)
    await upload_through_gateway(
        provider, path, storage, "agent" if provider is GLM else "file-extract", clock=waits.clock
    )
    assert len(sandbox.state()[provider.name]["files"]) == 1
    assert len(sandbox.requests(provider.name, "files.create")) == 2


@pytest.mark.parametrize("fault", [FaultKind.HANG, FaultKind.STALL_MID_BODY])
async def test_a_server_that_hangs_is_a_timeout_in_the_sdks_words(
    *,
    sandbox: RunningSandbox,
    sandbox_settings: Settings,
    storage: LocalStorage,
    make_file: MakeFile,
    waits: Waits,
    fault: FaultKind,
) -> None:
    """Neither a silent server nor one that takes no more data holds the caller for ever."""
    sandbox.inject(fault, "kimi", "files.create", times=None)
    path = make_file("a.bin", b"x" * 12_000_000)
    with (
        use_settings(sandbox_settings.model_copy(update={"upload_timeout": 0.4})),
        pytest.raises(RuntimeError, match=r"^Failed to upload to Kimi via SDK: Request timed out\.$"),
    ):
        await upload_through_gateway(KIMI, path, storage, "file-extract", clock=waits.clock)
