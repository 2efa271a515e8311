"""Who shares the throttle with whom: sizes, providers, loops, users and shadows. Real uploads."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shim.http.egress import confined_to
from tests.tools.engine.support import WireServer, all_of, throttle_of
from tools.async_file_upload_refactored import (
    upload_via_supabase_gateway_glm_async,
    upload_via_supabase_gateway_kimi_async,
)
from tools.engine import throttle
from tools.engine.limiter import Priority
from tools.engine.throttle import request_place, snapshot, upload_place, uploads_as
from tools.providers.spec import KIMI
from tools.sandbox import FaultKind, RunningSandbox
from tools.settings import MEGABYTE, Settings, use_settings
from tools.storage.local import LocalStorage

MakeFile = Callable[[str, bytes], Path]
CREATE = "files.create"


async def test_providers_do_not_feel_each_other(
    *, sandbox: RunningSandbox, sandbox_settings: Settings, storage: LocalStorage, make_file: MakeFile
) -> None:
    """While one hangs with all its places taken and more waiting, the other serves all."""
    sandbox.inject(FaultKind.HANG, "kimi", CREATE, times=None)
    with use_settings(sandbox_settings.model_copy(update={"upload_concurrency": 2})):
        kimi = [make_file(f"kimi {number}.txt", b"%d" % number) for number in range(6)]
        hanging = [asyncio.create_task(upload_via_supabase_gateway_kimi_async(path, storage)) for path in kimi]
        await asyncio.to_thread(sandbox.wait_for_requests, "kimi", CREATE, at_least=2)
        glm = [make_file(f"glm {number}.txt", b"%d" % number) for number in range(6)]
        async with asyncio.timeout(10):  # the hanging ones time out after 20 s, and would set connections free
            await all_of([upload_via_supabase_gateway_glm_async(path, storage) for path in glm])
        assert (throttle_of("kimi").places.inside, throttle_of("kimi").places.waiting) == (2, 4)
        assert not any(task.done() for task in hanging)
        for task in hanging:
            task.cancel()
        await asyncio.wait(hanging)
    assert (throttle_of("kimi").places.inside, throttle_of("kimi").places.waiting) == (0, 0)
    assert len(sandbox.state()["glm"]["files"]) == 6


async def test_a_thousand_small_uploads_and_five_large_ones(
    *,
    sandbox: RunningSandbox,
    sandbox_settings: Settings,
    storage: LocalStorage,
    make_file: MakeFile,
    say: Callable[[str], None],
) -> None:
    """All at once, the large ones asked for last: they end among the small ones, and the small ones among them."""
    sandbox.set_limits(kimi_max_files=2000)
    with use_settings(sandbox_settings.model_copy(update={"upload_concurrency": 4})):
        small = [make_file(f"{number}.txt", b"%d" % number) for number in range(1000)]
        large = [make_file(f"{number}.bin", b"%d" % number * (9 * MEGABYTE)) for number in range(5)]
        await all_of([upload_via_supabase_gateway_kimi_async(path, storage) for path in [*small, *large]])
    names = [file["filename"] for file in sandbox.state()["kimi"]["files"]]
    turns = [turn for turn, name in enumerate(names) if name.endswith(".bin")]
    say(f"of {len(names)} uploads at once, the five of 9 MB asked for last ended at turns {turns}")
    assert sorted(names) == sorted(path.name for path in [*small, *large])
    assert turns[0] < 100
    assert turns[-1] < 500


async def test_who_waits_can_be_cancelled(
    *, sandbox: RunningSandbox, sandbox_settings: Settings, storage: LocalStorage, make_file: MakeFile
) -> None:
    """In either queue; nothing of them was sent, and the others go on."""
    sandbox.inject(FaultKind.LATENCY, "kimi", CREATE, times=None, seconds=0.02)
    with use_settings(sandbox_settings.model_copy(update={"upload_concurrency": 12})):
        paths = [make_file(f"{number}.txt", b"%d" % number) for number in range(40)]
        uploads = [asyncio.create_task(upload_via_supabase_gateway_kimi_async(path, storage)) for path in paths]
        await asyncio.to_thread(sandbox.wait_for_requests, "kimi", CREATE, at_least=8)
        assert throttle_of("kimi").places.waiting
        for upload in uploads[8:38]:
            upload.cancel()
        await asyncio.wait(uploads)
        assert not any(uploads[index].cancelled() for index in (*range(8), 38, 39))
    limiters = throttle_of("kimi")
    assert (
        limiters.places.inside == limiters.places.waiting == limiters.requests.inside == limiters.requests.waiting == 0
    )
    assert len(sandbox.requests("kimi", CREATE)) < 40


@pytest.mark.usefixtures("wire_settings")
async def test_shadows_take_half_of_the_places(
    *, wire: WireServer, wire_settings: Settings, storage: LocalStorage, make_file: MakeFile
) -> None:
    """Uploads on behalf of a comparison never take more than half of the places; users have the rest at once."""
    wire.hold = asyncio.Event()
    with use_settings(wire_settings.model_copy(update={"upload_concurrency": 4})):
        with uploads_as(Priority.SHADOW):
            shadows = [_started(make_file(f"shadow {number}.txt", b"s"), storage) for number in range(6)]
        await wire.arrived.wait()
        assert (throttle_of("kimi").places.inside, throttle_of("kimi").places.waiting) == (2, 4)
        users = [_started(make_file(f"user {number}.txt", b"u"), storage) for number in range(4)]
        while throttle_of("kimi").places.waiting < 6:  # noqa: ASYNC110  # only counts
            await asyncio.sleep(0.001)
        assert throttle_of("kimi").places.inside == 4
        wire.hold.set()
        await asyncio.gather(*users)
        await asyncio.gather(*shadows)


def _started(path: Path, storage: LocalStorage) -> asyncio.Task[dict[str, Any]]:
    return asyncio.create_task(upload_via_supabase_gateway_kimi_async(path, storage))


async def test_a_rehearsal_passes_freely_and_leaves_no_trace(sandbox_settings: Settings) -> None:
    """It asks no provider: neither its number nor the refusals that it is given again count."""
    async with request_place(KIMI, 1) as place:
        place.succeeded()
    before = snapshot()
    with use_settings(sandbox_settings), confined_to("http://127.0.0.1:9"):
        places = [upload_place(KIMI, 1) for _ in range(100)]
        for one in places:
            await one.__aenter__()
        async with request_place(KIMI, 1) as place:
            place.refused(50.0, advised=True)
    assert [(limiters.requests.limit, limiters.requests.held_seconds) for limiters in snapshot()] == [
        (limiters.requests.limit, 0.0) for limiters in before
    ]


async def test_idle_throttles_make_room(sandbox_settings: Settings) -> None:
    """Many addresses leave no more than a bounded number of throttles; one in use is kept."""
    async with upload_place(KIMI, 1):
        for number in range(3 * throttle.MAX_THROTTLES):
            with use_settings(sandbox_settings.model_copy(update={"kimi_api_url": f"http://127.0.0.1/{number}"})):
                async with upload_place(KIMI, 1):
                    pass
        assert len(snapshot()) <= throttle.MAX_THROTTLES
        assert any(limiters.places.inside for limiters in snapshot())


def test_a_forked_process_begins_anew(sandbox_settings: Settings) -> None:
    """The places that the parent's threads hold are free in the child."""
    del sandbox_settings
    upload_place(KIMI, 1)
    assert len(snapshot()) == 1
    child = os.fork()
    if child == 0:
        os._exit(len(snapshot()))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(snapshot()) == 1
