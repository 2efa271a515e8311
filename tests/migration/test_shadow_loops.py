"""Shadows of a candidate run on the loop that serves callers, and can neither break nor hold up a call there."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import aiohttp
import pytest

from migration import Call, Decision, Migration, ReadOnly, Runtime, ShadowLimits, Side, migrate
from migration.model import NoticeKind, Verdict
from migration.routing import Shim
from migration.running.in_flight import inside_a_shadow
from migration.shadow.isolated import BLOCKED_SECONDS
from migration.testing import FixedRouter, RecordingObserver
from tests.migration.helpers import eventually, in_thread
from tests.migration.outbox import OutboxReplay, rehearsing


class Answering(BaseHTTPRequestHandler):
    """Answers each request with its own path, on connections that are kept."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = self.path.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()
        thread.join()


class Alternating(FixedRouter):
    """Legacy serves, or once there are `sides` each of them in turn."""

    sides: Iterator[Side] = itertools.repeat(Side.LEGACY)

    def decide(self, call: Call) -> Decision:
        self.serve = next(self.sides)
        return super().decide(call)


kept: dict[str, Any] = {}
"""What a module keeps in global variables."""


async def by_a_session(url: str, name: str) -> str:
    """Through one `aiohttp.ClientSession` of the module, which belongs to the first loop that it sees."""
    if "session" not in kept:
        kept["session"] = aiohttp.ClientSession()
    async with kept["session"].get(f"{url}/{name}") as answer:
        return str(await answer.text())


async def by_a_lock(_url: str, name: str) -> str:
    """Behind one lock of the module, which belongs to the first loop on which it had to wait."""
    async with kept.setdefault("lock", asyncio.Lock()):
        await asyncio.sleep(0.001)
        return f"/{name}"


async def by_a_queue(_url: str, name: str) -> str:
    """Through one queue of the module, that is as full as it can be now and then."""
    queue: asyncio.Queue[str] = kept.setdefault("queue", asyncio.Queue(1))
    await queue.put(name)
    await asyncio.sleep(0.001)
    return f"/{await queue.get()}"


@pytest.mark.parametrize("candidate", [by_a_session, by_a_lock, by_a_queue])
@pytest.mark.parametrize("awaiting", [False, True])
def test_what_a_candidate_keeps_for_a_loop_serves_shadows_and_callers(
    *,
    candidate: Callable[[str, str], Coroutine[Any, Any, str]],
    awaiting: bool,
    observer: RecordingObserver,
    server: str,
) -> None:
    """Forty identical comparisons at 0 %, then calls at 50 %, compared as well: none of them fails."""
    kept.clear()
    router = Alternating(shadow=True)
    limits = ShadowLimits(yield_seconds=0, waiting=200)
    runtime = Runtime(router=router, observers=[observer], shadow_limits=limits)
    migration = Migration(name="m", candidate=candidate, replay=ReadOnly())
    shim = migrate(migration, runtime=runtime)(lambda _url, name: f"/{name}")

    async def close() -> None:
        if "session" in kept:
            await kept["session"].close()

    runtime.loop.on_close(close)

    def call(number: int) -> str:
        return str(asyncio.run(shim.aio(server, str(number))) if awaiting else shim(server, str(number)))

    with ThreadPoolExecutor(4) as callers:
        assert list(callers.map(call, range(40))) == [f"/{number}" for number in range(40)]
        assert runtime.shadows.drain(30)
        assert [found.verdict for found in observer.comparisons] == [Verdict.IDENTICAL] * 40
        router.sides = itertools.cycle(Side)
        assert list(callers.map(call, range(40))) == [f"/{number}" for number in range(40)]
    runtime.close()
    assert {side: observer.served().count(side) for side in Side} == {Side.LEGACY: 60, Side.CANDIDATE: 20}
    assert {found.verdict for found in observer.comparisons} == {Verdict.IDENTICAL}


def blocking(router: FixedRouter, observer: RecordingObserver, **limits: Any) -> tuple[Runtime, Shim[[str], str], Any]:
    """A candidate whose shadows block their event loop until they are freed, and whose calls can wait."""
    router.shadow = True
    limits = {"yield_seconds": 0, **limits}
    runtime = Runtime(router=router, observers=[observer], shadow_limits=ShadowLimits(**limits))
    freed, blocked = threading.Event(), threading.Event()

    async def candidate(word: str) -> str:
        if rehearsing() and word == "block":
            blocked.set()
            assert freed.wait(30)
        if word == "wait" and not rehearsing():
            await asyncio.sleep(0.1)
        return f"candidate {word}"

    migration = Migration(name="m", candidate=candidate, replay=OutboxReplay(), facts=lambda _: {})
    shim = migrate(migration, runtime=runtime)(lambda word: f"legacy {word}")
    return runtime, shim, (freed, blocked)


def refused(runtime: Runtime) -> bool:
    return bool(runtime.loop._blocked)


@pytest.mark.parametrize("awaiting", [False, True])
def test_while_a_shadow_blocks_the_loop_legacy_serves(
    *, router: FixedRouter, observer: RecordingObserver, awaiting: bool
) -> None:
    """Calls that are made then, and those that were waiting to begin, are answered by legacy; afterwards none is."""
    runtime, shim, (freed, blocked) = blocking(router, observer)

    def call(word: str) -> str:
        return str(asyncio.run(shim.aio(word)) if awaiting else shim(word))

    shim("block")
    assert blocked.wait(10)
    router.serve, router.shadow = Side.CANDIDATE, False
    begun = time.monotonic()
    assert in_thread(lambda: call("waiting to begin")).result(10) == "legacy waiting to begin"
    assert time.monotonic() - begun < 4 * BLOCKED_SECONDS + 1
    assert call("made then") == "legacy made then"
    freed.set()
    assert eventually(lambda: not refused(runtime))
    assert call("made afterwards") == "candidate made afterwards"
    [said] = {notice.text for notice in observer.notices if notice.kind is NoticeKind.BLOCKED_EVENT_LOOP}
    assert said.startswith("a shadow blocks the event loop of the candidates at ")
    assert runtime.shadows.drain(10)
    assert [found.verdict for found in observer.comparisons] == [Verdict.IDENTICAL]
    runtime.close()


def test_a_candidate_that_blocked_callers_is_not_run_for_shadows_for_a_while(
    router: FixedRouter, observer: RecordingObserver
) -> None:
    """It rests for a hundred times as long as it blocked the loop, and the reason says so; callers are served."""
    runtime, shim, (freed, blocked) = blocking(router, observer)
    router.serve = Side.CANDIDATE
    running = in_thread(lambda: shim("wait"))
    router.serve = Side.LEGACY
    shim("block")
    assert blocked.wait(10)
    assert eventually(lambda: refused(runtime))
    freed.set()
    assert running.result(10) in {"candidate wait", "legacy wait"}
    assert runtime.shadows.drain(10)
    router.serve = Side.CANDIDATE
    assert shim("go on") == "candidate go on"
    assert runtime.shadows.drain(10)
    assert observer.comparisons[-1].verdict is Verdict.DROPPED
    assert observer.comparisons[-1].detail.startswith("a shadow blocked the event loop of the candidates at ")
    runtime.close()


def test_shadows_that_hang_in_threads_take_no_caller_a_thread(router: FixedRouter, observer: RecordingObserver) -> None:
    """Blocking work that shadows hand over never ends, and callers' blocking work is done at once."""
    freed = threading.Event()

    async def candidate() -> str:
        if rehearsing():
            await asyncio.to_thread(freed.wait, 30)
        return await asyncio.to_thread(lambda: "done")

    router.serve, router.shadow = Side.CANDIDATE, True
    limits = ShadowLimits(yield_seconds=0, seconds=0.05, waiting=100)
    runtime = Runtime(router=router, observers=[observer], shadow_limits=limits)
    shim = migrate(Migration(name="m", candidate=candidate, replay=OutboxReplay()), runtime=runtime)(lambda: "done")
    for _ in range(40):
        assert in_thread(shim).result(5) == "done"
        time.sleep(0.02)
    assert len([found for found in observer.comparisons if "not finished" in found.detail]) >= 6
    freed.set()
    runtime.close()


def test_the_end_of_a_process_waits_for_callers_and_not_for_shadows(
    router: FixedRouter, observer: RecordingObserver
) -> None:
    """Candidates of callers finish; a shadow that does not is dropped after its own two seconds at most."""
    router.shadow = True
    runtime = Runtime(router=router, observers=[observer], shadow_limits=ShadowLimits(yield_seconds=0))
    hanging = threading.Event()

    async def candidate(word: str) -> str:
        if rehearsing():
            hanging.set()
            await asyncio.sleep(600)
        await asyncio.sleep(0.5)
        return f"candidate {word}"

    shim = migrate(Migration(name="m", candidate=candidate, replay=OutboxReplay()), runtime=runtime)(lambda word: word)
    shim("a")
    assert hanging.wait(10)
    router.serve, router.shadow = Side.CANDIDATE, False
    running = in_thread(lambda: shim("b"))
    assert eventually(lambda: runtime.in_flight.count == 1)
    time.sleep(0.05)
    begun = time.monotonic()
    runtime.close()
    assert time.monotonic() - begun < 5
    assert running.result(1) == "candidate b"
    assert [found.detail for found in observer.comparisons] == ["the process is ending"]


@pytest.mark.parametrize("serve", Side)
def test_what_asynchronous_legacy_keeps_for_a_loop_is_its_callers(
    observer: RecordingObserver, server: str, serve: Side
) -> None:
    """Its shadows run on the loop of their call: the first to use a session may be one, and no call fails."""
    kept.clear()
    router = FixedRouter(serve=serve, shadow=True)
    limits = ShadowLimits(yield_seconds=0, waiting=200)
    runtime = Runtime(router=router, observers=[observer], shadow_limits=limits)

    async def candidate(_url: str, name: str) -> str:
        return f"/{name}"

    async def legacy(url: str, name: str) -> str:
        return await by_a_session(url, name)

    shim: Any = migrate(Migration(name="m", candidate=candidate, replay=ReadOnly()), runtime=runtime)(legacy)

    async def calls() -> None:
        for number in range(20):
            assert await shim(server, str(number)) == f"/{number}"
        assert await asyncio.to_thread(runtime.shadows.drain, 20)
        router.serve = Side.LEGACY  # rolled back
        for number in range(20):
            assert await shim(server, str(number)) == f"/{number}"
        assert await asyncio.to_thread(runtime.shadows.drain, 20)
        await kept["session"].close()

    asyncio.run(calls())
    runtime.close()
    assert [found.verdict for found in observer.comparisons] == [Verdict.IDENTICAL] * 40


def test_asynchronous_legacy_that_blocks_its_callers_loop_rests(
    router: FixedRouter, observer: RecordingObserver
) -> None:
    """Its shadow blocks that loop as its calls do: once, and then not for a hundred times as long."""
    router.shadow = True
    runtime = Runtime(router=router, observers=[observer], shadow_limits=ShadowLimits(yield_seconds=0))

    async def candidate() -> int:
        return 1

    async def legacy() -> int:
        time.sleep(0.3)  # noqa: ASYNC251  # as much asynchronous legacy does
        return 1

    shim: Any = migrate(Migration(name="m", candidate=candidate, replay=ReadOnly()), runtime=runtime)(legacy)

    async def calls() -> None:
        for _ in range(3):
            assert await shim() == 1
            assert await asyncio.to_thread(runtime.shadows.drain, 10)

    asyncio.run(calls())
    runtime.close()
    assert [found.verdict for found in observer.comparisons] == [Verdict.IDENTICAL, Verdict.DROPPED, Verdict.DROPPED]
    assert observer.comparisons[-1].detail.startswith("a shadow blocked the event loop of its callers at ")


def test_a_loop_that_ends_takes_its_shadow_with_it_and_no_comparison(
    router: FixedRouter, observer: RecordingObserver
) -> None:
    """Legacy is then run again on a loop of its own, as nothing that it keeps can belong to the one that has ended."""
    router.shadow = True
    runtime = Runtime(router=router, observers=[observer], shadow_limits=ShadowLimits(yield_seconds=0))
    shadows: list[asyncio.AbstractEventLoop] = []

    async def candidate() -> int:
        return 1

    async def legacy() -> int:
        if inside_a_shadow():
            shadows.append(asyncio.get_running_loop())
            await asyncio.sleep(5 if len(shadows) == 1 else 0)
        return 1

    shim: Any = migrate(Migration(name="m", candidate=candidate, replay=ReadOnly()), runtime=runtime)(legacy)

    async def call() -> None:
        assert await shim() == 1
        while not shadows:  # noqa: ASYNC110  # another thread adds to it
            await asyncio.sleep(0.001)

    asyncio.run(call())
    assert runtime.shadows.drain(4)
    runtime.close()
    assert len(set(shadows)) == len(shadows) == 2
    assert [found.verdict for found in observer.comparisons] == [Verdict.IDENTICAL]
