"""Calls inside calls: decided once, never waiting for themselves."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context

import pytest

from migration import Migration, Runtime, Side, migrate
from migration.routing import Shim
from migration.testing import FixedRouter, RecordingObserver
from tests.migration.helpers import in_thread


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("awaiting", [False, True])
def test_nested_calls_of_one_migration_stay_on_the_decided_side(
    runtime: Runtime, router: FixedRouter, observer: RecordingObserver, side: Side, *, awaiting: bool
) -> None:
    """Functions that share a migration's name are decided once for the whole call: the router is asked once."""

    async def inner_new() -> str:
        return "inner new"

    async def outer_new() -> list[str]:
        return ["outer new", await inner.aio()]

    inner = migrate(Migration(name="m", candidate=inner_new), runtime=runtime)(lambda: "inner old")
    outer = migrate(Migration(name="m", candidate=outer_new), runtime=runtime)(lambda: ["outer old", inner()])
    router.serve = side
    answer = asyncio.run(outer.aio()) if awaiting else outer()
    word = "old" if side is Side.LEGACY else "new"
    assert answer == [f"outer {word}", f"inner {word}"]
    assert router.asked == 1
    assert observer.served() == [side]


def test_a_side_context_ends_with_its_call(runtime: Runtime, router: FixedRouter) -> None:
    """The call after one that ran on a fixed side is decided again, on the same thread and in the same task."""

    async def new() -> str:
        return "new"

    f = migrate(Migration(name="m", candidate=new), runtime=runtime)(lambda: "old")
    router.serve = Side.CANDIDATE
    assert f() == "new"
    router.serve = Side.LEGACY
    assert f() == "old"

    async def both() -> list[str]:
        first = await f.aio()
        router.serve = Side.CANDIDATE
        return [first, await f.aio()]

    assert asyncio.run(both()) == ["old", "new"]


@pytest.mark.parametrize("side", Side)
def test_a_thread_begun_inside_a_call_is_decided_again_after_it(
    runtime: Runtime, router: FixedRouter, observer: RecordingObserver, side: Side
) -> None:
    """A poller in a copy of the call's context is routed and seen once the call is over: a roll-back reaches it."""
    pollers: list[threading.Thread] = []
    go, served = threading.Event(), list[str]()

    def poll() -> None:
        go.wait(10)
        served.append(upload())

    def begin() -> str:
        pollers.append(threading.Thread(target=copy_context().run, args=(poll,), daemon=True))
        pollers[-1].start()
        return "begun"

    async def begin_new() -> str:
        return begin()

    async def new() -> str:
        return "candidate"

    upload = migrate(Migration(name="m", candidate=new), runtime=runtime)(lambda: "legacy")
    first_use = migrate(Migration(name="m", candidate=begin_new), runtime=runtime)(begin)
    router.serve = side
    assert first_use() == "begun"
    router.serve = side.other
    go.set()
    pollers[0].join(10)
    assert served == [str(side.other)]
    assert router.asked == 2
    assert observer.served() == [side, side.other]


def test_a_task_begun_inside_a_candidate_is_decided_again_after_it(runtime: Runtime, router: FixedRouter) -> None:
    """A task on the background loop that goes on after its call follows the flag."""
    go, served = threading.Event(), Future[str]()

    async def poll() -> None:
        while not go.is_set():  # noqa: ASYNC110  # another thread sets it
            await asyncio.sleep(0.005)
        served.set_result(await upload.aio())

    async def begin_new() -> asyncio.Task[None]:
        return asyncio.create_task(poll())

    async def new() -> str:
        return "candidate"

    upload = migrate(Migration(name="m", candidate=new), runtime=runtime)(lambda: "legacy")
    first_use = migrate(Migration(name="m", candidate=begin_new), runtime=runtime)(lambda: None)
    router.serve = Side.CANDIDATE
    assert first_use() is not None
    router.serve = Side.LEGACY
    go.set()
    assert served.result(10) == "legacy"


def test_another_migration_inside_is_decided_by_itself(
    runtime: Runtime, router: FixedRouter, observer: RecordingObserver
) -> None:
    """Only calls of the same migration stay on the side of the call around them."""

    async def new() -> str:
        return "new"

    inner = migrate(Migration(name="inner", candidate=new), runtime=runtime)(lambda: "old")
    outer = migrate(Migration(name="outer", candidate=new), runtime=runtime)(inner)
    assert outer() == "old"
    assert router.asked == 2
    assert observer.served() == [Side.LEGACY, Side.LEGACY]


@pytest.fixture
def delegating(runtime: Runtime, router: FixedRouter) -> dict[str, Shim[[], str]]:
    """Migrated functions whose candidates call a migrated function synchronously, each in another way."""
    router.serve = Side.CANDIDATE
    shims: dict[str, Shim[[], str]] = {}

    async def leaf() -> str:
        return await asyncio.to_thread(lambda: "leaf new")

    async def on_the_loop() -> str:
        return shims["leaf"]()

    async def in_a_thread() -> str:
        return await asyncio.to_thread(shims["leaf"])

    async def in_an_executor() -> str:
        return await asyncio.get_running_loop().run_in_executor(None, shims["leaf"])

    async def itself() -> str:
        return await asyncio.to_thread(shims["itself"])

    async def itself_without_context() -> str:
        return await asyncio.get_running_loop().run_in_executor(None, shims["itself_without_context"])

    for candidate in (leaf, on_the_loop, in_a_thread, in_an_executor, itself, itself_without_context):
        name = candidate.__name__
        migration = Migration(name=name, candidate=candidate)
        shims[name] = migrate(migration, runtime=runtime)(lambda name=name: f"{name} old")  # type: ignore[misc]  # mypy knows no default of a lambda here
    return shims


@pytest.mark.parametrize("way", ["on_the_loop", "in_a_thread", "in_an_executor"])
def test_a_synchronous_call_inside_a_candidate_is_served_by_legacy(
    delegating: dict[str, Shim[[], str]], observer: RecordingObserver, way: str
) -> None:
    """On the background loop, and in its worker threads, waiting for a candidate could never end: legacy serves.

    What observers see is what happened: the inner run is one of legacy.
    """
    assert in_thread(delegating[way]).result(10) == "leaf old"
    inner, outer = (done for done in observer.operations if done.side is not None)
    assert (inner.call.migration, inner.side) == ("leaf", Side.LEGACY)
    assert (outer.call.migration, outer.side) == (way, Side.CANDIDATE)


@pytest.mark.parametrize("way", ["itself", "itself_without_context"])
def test_a_candidate_that_calls_the_function_it_replaces_gets_legacy(
    delegating: dict[str, Shim[[], str]], way: str
) -> None:
    """`async def new(): return await asyncio.to_thread(old)` is common: it means legacy, not to go round for ever."""
    assert in_thread(delegating[way]).result(10) == f"{way} old"


@pytest.mark.parametrize("way", ["in_a_thread", "in_an_executor", "itself"])
def test_nested_executors_do_not_starve_each_other(delegating: dict[str, Shim[[], str]], way: str) -> None:
    """Many more calls than the background loop has worker threads, each of which needs two: all end."""
    with ThreadPoolExecutor(64) as threads:
        calls = [threads.submit(delegating[way]) for _ in range(64)]
        answers = {call.result(20) for call in calls}
    assert len(answers) == 1


async def test_a_synchronous_call_in_a_thread_inside_a_loop(runtime: Runtime, router: FixedRouter) -> None:
    """Loop, worker thread, legacy, its own pool, and there a migrated call: each level waits, none for itself."""

    async def leaf() -> str:
        return "leaf new"

    off = Runtime()
    inner = migrate(Migration(name="inner", candidate=leaf), runtime=runtime)(lambda: "leaf old")

    def legacy() -> list[str]:
        with ThreadPoolExecutor(4) as threads:
            return [call.result(10) for call in [threads.submit(inner) for _ in range(16)]]

    outer = migrate(Migration(name="outer", candidate=leaf), runtime=off)(legacy)
    router.serve = Side.CANDIDATE
    assert await asyncio.to_thread(outer) == ["leaf new"] * 16
    assert await outer.aio() == ["leaf new"] * 16


def test_awaiting_inside_a_candidate_stays_on_the_background_loop(runtime: Runtime, router: FixedRouter) -> None:
    """A candidate that awaits another migrated function runs it beside itself, on the same thread."""

    async def inner_new() -> int:
        return threading.get_ident()

    async def outer_new() -> bool:
        return await inner.aio() == threading.get_ident()

    inner = migrate(Migration(name="inner", candidate=inner_new), runtime=runtime)(lambda: 0)
    outer = migrate(Migration(name="outer", candidate=outer_new), runtime=runtime)(lambda: False)
    router.serve = Side.CANDIDATE
    assert in_thread(outer).result(10)


def test_a_nested_candidate_that_is_unavailable_does_not_send_the_outer_one_to_legacy(
    runtime: Runtime, router: FixedRouter
) -> None:
    """That an inner call sent nothing proves nothing for the outer one: the inner alone falls back."""
    sent: list[str] = []

    async def outer_new() -> str:
        sent.append("outer candidate")
        return await inner.aio()

    def outer_old() -> str:
        sent.append("outer legacy")
        return "outer old"

    inner = migrate(Migration(name="m", candidate="no.such:thing"), runtime=runtime)(lambda: "inner old")
    outer = migrate(Migration(name="m", candidate=outer_new), runtime=runtime)(outer_old)
    router.serve = Side.CANDIDATE
    assert outer() == "inner old"
    assert sent == ["outer candidate"]
