"""What the throttle learns from refusals: above a limit, for a while, for good. Real uploads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tests.tools.engine.support import Reply, Waits, WireServer, all_of, throttle_of
from tools.async_file_upload_refactored import (
    cleanup_http_session,
    upload_via_supabase_gateway_kimi_async,
)
from tools.engine.gateway import upload_through_gateway
from tools.providers.spec import GLM, KIMI, Provider
from tools.sandbox import FaultKind, Limits, RunningSandbox, SandboxServer
from tools.settings import Settings, use_settings
from tools.storage.local import LocalStorage
from tools.transport.loops import Clock

MakeFile = Callable[[str, bytes], Path]
CREATE = "files.create"


@pytest.mark.parametrize("allowed", [1, 4])
async def test_it_finds_out_how_many_a_provider_takes(
    *,
    sandbox: RunningSandbox,
    sandbox_settings: Settings,
    storage: LocalStorage,
    make_file: MakeFile,
    say: Callable[[str], None],
    allowed: int,
) -> None:
    """The limit settles where the provider's is, hardly a request is made for nothing, and no upload fails."""
    del sandbox_settings
    files = 60 * allowed
    sandbox.set_limits(kimi_max_at_once=allowed)
    sandbox.inject(FaultKind.LATENCY, "kimi", CREATE, times=None, seconds=0.03)
    paths = [make_file(f"{number}.txt", b"%d" % number) for number in range(files)]
    await all_of([upload_via_supabase_gateway_kimi_async(path, storage) for path in paths])
    requests, limit = len(sandbox.requests("kimi", CREATE)), throttle_of("kimi").requests.limit
    say(f"{files} uploads to a provider that takes {allowed} at once: {requests} requests, limit {limit} at the end")
    assert len(sandbox.state()["kimi"]["files"]) == files
    assert allowed // 2 <= limit <= allowed + 1
    assert requests <= files * 1.15 + 10


class VirtualTime:
    """A clock at which a minute passes at once, for all that wait for its end."""

    def __init__(self) -> None:
        self.now = 0.0

    async def sleep(self, seconds: float) -> None:
        until = self.now + seconds
        await asyncio.sleep(0.05)  # meanwhile the others go to sleep, or have their answers
        self.now = max(self.now, until)

    @property
    def clock(self) -> Clock:
        return Clock(sleep=self.sleep, jitter=lambda: 0.0, now=lambda: self.now)


async def test_a_limit_by_the_minute_is_waited_out_by_all(
    *,
    sandbox_settings: Settings,
    storage: LocalStorage,
    make_file: MakeFile,
    tmp_path: Path,
    say: Callable[[str], None],
) -> None:
    """The advice that one upload gets holds for all: at most those in flight ask in vain, and none fails."""
    files, a_minute, here = 40, 10, VirtualTime()
    paths = [make_file(f"{number}.txt", b"%d" % number) for number in range(files)]
    limits = Limits().changed({"kimi_max_a_minute": a_minute})
    async with SandboxServer(tmp_path / "provider", limits=limits, clock=lambda: 1e9 + here.now) as server:
        with use_settings(sandbox_settings.model_copy(update={"kimi_api_url": server.urls["kimi"]})):
            await all_of([upload_through_gateway(KIMI, path, storage, "batch", clock=here.clock) for path in paths])
            assert server._world is not None
            requests = server._world.journal.count("kimi", CREATE)
        await cleanup_http_session()
    say(f"{files} uploads to a provider that takes {a_minute} a minute: {requests} requests, {here.now:.0f} s")
    assert requests <= files * 2
    assert 3 * 60 <= here.now <= 5 * 60


QUOTA = b'{"error": {"type": "exceeded_current_quota_error", "message": "pay"}}'
ARREARS = b'{"error": {"code": "1113", "message": "pay"}}'


@pytest.mark.parametrize(("provider", "body"), [(KIMI, QUOTA), (GLM, ARREARS)], ids=["kimi", "glm"])
@pytest.mark.usefixtures("wire_settings")
async def test_a_refusal_for_good_is_not_repeated_and_teaches_nothing(
    *, wire: WireServer, storage: LocalStorage, make_file: MakeFile, waits: Waits, provider: Provider, body: bytes
) -> None:
    """No upload waits for an account without money, and others are not slowed down on its behalf."""
    wire.replies = [Reply(status=429, body=body)]
    with pytest.raises(RuntimeError, match=r"Error code: 429.*pay"):
        await upload_through_gateway(provider, make_file("a.txt", b"a"), storage, "agent", clock=waits.clock)
    assert len(wire.posts) == 1
    assert waits.seconds == []
    requests = throttle_of(provider.name).requests
    assert (requests.limit, requests.held_seconds) == (8, 0.0)


@pytest.mark.parametrize("headers", [{"Retry-After": "20"}, {"X-Retry-After": "20"}, {"Retry-After-Ms": "20000"}])
@pytest.mark.usefixtures("wire_settings")
async def test_advice_of_every_kind_holds_everybody_back(
    *, wire: WireServer, storage: LocalStorage, make_file: MakeFile, waits: Waits, headers: dict[str, str]
) -> None:
    """One upload is refused and gives up in the meantime; the next one waits before it sends anything."""
    wire.replies = [Reply(status=429, body=b"", headers=headers), Reply()]

    async def never(_: float) -> None:
        await asyncio.Event().wait()

    refused = asyncio.create_task(
        upload_through_gateway(GLM, make_file("a.txt", b"a"), storage, "agent", clock=replace(waits.clock, sleep=never))
    )
    while not wire.posts or throttle_of("glm").requests.inside:  # noqa: ASYNC110  # the server only counts
        await asyncio.sleep(0.001)
    status = throttle_of("glm").requests
    assert status.limit == 4
    assert 15 < status.held_seconds <= 20
    refused.cancel()
    await upload_through_gateway(GLM, make_file("b.txt", b"b"), storage, "agent", clock=waits.clock)
    assert waits.seconds == [pytest.approx(20, abs=5)]


async def test_an_overload_inside_a_success_makes_the_limit_narrower(
    *,
    sandbox: RunningSandbox,
    sandbox_settings: Settings,
    storage: LocalStorage,
    make_file: MakeFile,
    waits: Waits,
) -> None:
    """GLM's status is 200; the caller gets its error as legacy words it, at once."""
    del sandbox_settings
    sandbox.inject(FaultKind.ERROR_IN_SUCCESS, "glm", CREATE)
    with pytest.raises(RuntimeError, match="1305 The API has triggered a rate limit"):
        await upload_through_gateway(GLM, make_file("a.txt", b"a"), storage, "agent", clock=waits.clock)
    assert len(sandbox.requests("glm", CREATE)) == 1
    assert throttle_of("glm").requests.limit == 4


def test_loops_of_one_process_share_what_the_account_allows(
    *,
    sandbox: RunningSandbox,
    sandbox_settings: Settings,
    storage: LocalStorage,
    make_file: MakeFile,
    say: Callable[[str], None],
) -> None:
    """Limits are counted by account, so uploads of several loops share one limit."""
    sandbox.set_limits(kimi_max_at_once=4)
    sandbox.inject(FaultKind.LATENCY, "kimi", CREATE, times=None, seconds=0.03)
    paths = [make_file(f"{number}.txt", b"%d" % number) for number in range(120)]

    async def upload(mine: list[Path]) -> None:
        with use_settings(sandbox_settings):
            await all_of([upload_via_supabase_gateway_kimi_async(path, storage) for path in mine])
        await cleanup_http_session()

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(asyncio.run, upload(paths[number::4])) for number in range(4)]:
            done.result()
    requests = len(sandbox.requests("kimi", CREATE))
    say(f"120 uploads from 4 loops to a provider that takes 4 at once: {requests} requests")
    assert len(sandbox.state()["kimi"]["files"]) == 120
    assert requests <= 150
