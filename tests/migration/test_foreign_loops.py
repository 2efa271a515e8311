"""Calls work beside event loops and executors that others have made or changed, on either side."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest
import uvloop
from asgiref.sync import async_to_sync, sync_to_async

from migration import Migration, Runtime, Side, migrate
from migration.routing import Shim
from migration.testing import FixedRouter
from tests.migration.helpers import in_thread, run_script

SECONDS = 10.0


@pytest.fixture(params=Side)
def upload(request: pytest.FixtureRequest, router: FixedRouter, runtime: Runtime) -> Shim[[int], str]:
    """A migrated function at 0 % and at 100 %; it says who served."""

    async def candidate(number: int) -> str:
        await asyncio.sleep(0.001)
        return f"candidate {await asyncio.to_thread(lambda: number)}"

    def legacy(number: int) -> str:
        return f"legacy {number}"

    router.serve = request.param
    return migrate(Migration(name="m", candidate=candidate), runtime=runtime)(legacy)


@pytest.fixture
def served(router: FixedRouter) -> str:
    return str(router.serve)


async def of_many(upload: Shim[[int], str]) -> list[str]:
    """Awaited side by side, and then called as a cell of a notebook calls, within the running loop."""
    return [*await asyncio.gather(*(upload.aio(number) for number in range(8))), upload(8)]


def expected(served: str) -> list[str]:
    return [f"{served} {number}" for number in range(9)]


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_hosts_loop(run: Callable[..., list[str]], upload: Shim[[int], str], served: str) -> None:
    """A host with asyncio's loop or uvloop's awaits calls, and calls synchronously inside."""
    assert in_thread(lambda: run(of_many(upload))).result(SECONDS) == expected(served)


def test_candidates_on_uvloop(upload: Shim[[int], str], served: str, router: FixedRouter) -> None:
    """The background loop itself may be uvloop's."""
    runtime = Runtime(router=router, new_loop=uvloop.new_event_loop)
    fast: Shim[[int], str] = Shim(upload.migration, upload.legacy, runtime)
    assert in_thread(lambda: asyncio.run(of_many(fast))).result(SECONDS) == expected(served)
    runtime.close(1.0)


def test_a_notebooks_loop_that_runs_on(upload: Shim[[int], str], served: str) -> None:
    """A loop runs in a thread for as long as a notebook is open; each cell is a task on it."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    for _ in range(3):
        assert asyncio.run_coroutine_threadsafe(of_many(upload), loop).result(SECONDS) == expected(served)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(SECONDS)
    loop.close()


def test_asgiref_from_asynchronous_code(upload: Shim[[int], str], served: str) -> None:
    """A synchronous view in Django's one thread-sensitive thread, at once from several requests."""

    async def requests() -> list[str]:
        view = sync_to_async(upload, thread_sensitive=True)
        return list(await asyncio.gather(*(view(number) for number in range(9))))

    assert in_thread(lambda: asyncio.run(requests())).result(SECONDS) == expected(served)


def test_asgiref_from_synchronous_code(upload: Shim[[int], str], served: str) -> None:
    """`async_to_sync` runs a loop of its own, from which `sync_to_async` comes back to the caller's thread."""

    async def view() -> list[str]:
        inside = await sync_to_async(upload, thread_sensitive=True)(8)
        return [*await asyncio.gather(*(upload.aio(number) for number in range(8))), inside]

    assert in_thread(async_to_sync(view)).result(SECONDS) == expected(served)


@pytest.mark.parametrize("side", Side)
def test_nest_asyncio(side: Side) -> None:
    """A host that lets loops run inside each other; in a process of its own, as that changes asyncio for good."""
    told = run_script(
        "import asyncio, sys, nest_asyncio\n"
        "nest_asyncio.apply()\n"
        "from migration import Migration, Runtime, Side, migrate\n"
        "from migration.testing import FixedRouter\n"
        "async def candidate(number):\n"
        "    await asyncio.sleep(0.001)\n"
        "    return f'candidate {number}'\n"
        "runtime = Runtime(router=FixedRouter(serve=Side(sys.argv[1])))\n"
        "@migrate(Migration(name='m', candidate=candidate), runtime=runtime)\n"
        "def upload(number):\n"
        "    return f'legacy {number}'\n"
        "async def inner():\n"
        "    return await upload.aio(1)\n"
        "async def outer():\n"
        "    nest_asyncio.apply()\n"
        "    upload(9)  # of the first call inside a loop it is not known yet that it is not awaited\n"
        "    return [upload(0), asyncio.run(inner()), await upload.aio(2)]\n"
        "print(asyncio.run(outer()))\n"
        "runtime.close()\n",
        side.value,
        seconds=60,
    )
    assert told == f"{[f'{side.value} {number}' for number in range(3)]}\n"
