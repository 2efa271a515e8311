"""In-flight calls: their ids, and how a process that is about to end lets them end and holds others back."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from migration import Migration, Runtime, Side, migrate
from migration.running.in_flight import PREPARED_IDS, new_call_id
from migration.testing import FixedRouter
from tests.migration.helpers import eventually, run_script


class Work:
    """A function on both sides that goes on until it may end."""

    def __init__(self, runtime: Runtime) -> None:
        self.begun: list[str] = []
        self.may_end = threading.Event()
        self.runtime = runtime
        self.function = migrate(Migration(name="m", candidate=self.new), runtime=runtime)(self.old)

    def old(self, name: str) -> str:
        self.begun.append(name)
        self.may_end.wait(30)
        if name == "outer":
            return self.function("inner")
        return name

    async def new(self, name: str) -> str:
        self.begun.append(name)
        while not self.may_end.is_set():  # noqa: ASYNC110  # set by another thread
            await asyncio.sleep(0.005)
        return name


@pytest.fixture(params=list(Side))
def work(request: pytest.FixtureRequest) -> Iterator[Work]:
    made = Work(Runtime(router=FixedRouter(serve=request.param)))
    yield made
    made.may_end.set()
    made.runtime.close()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def asynchronously(work: Work) -> Callable[[str], str]:
    return lambda name: asyncio.run(work.function.aio(name))


@pytest.mark.parametrize("awaiting", [False, True], ids=["calling", "awaiting"])
def test_calls_under_way_end_and_others_wait(work: Work, pool: ThreadPoolExecutor, *, awaiting: bool) -> None:
    """A drain waits for what has begun; what comes meanwhile begins only if the process goes on after all."""
    call = asynchronously(work) if awaiting else work.function
    first = pool.submit(call, "first")
    assert eventually(lambda: work.begun == ["first"])
    draining = pool.submit(work.runtime.drain, 30.0)
    assert eventually(lambda: work.runtime.in_flight.held)
    second = pool.submit(call, "second")
    time.sleep(0.1)
    assert not draining.done()
    work.may_end.set()
    assert draining.result(10) == 0
    assert first.result(10) == "first"
    assert (second.done(), work.begun) == (False, ["first"])
    work.runtime.resume()
    assert second.result(10) == "second"


def test_a_drain_is_bounded(work: Work, pool: ThreadPoolExecutor) -> None:
    """What does not end in time is counted, and not waited for."""
    calls = [pool.submit(work.function, str(number)) for number in range(3)]
    assert eventually(lambda: len(work.begun) == 3)
    assert work.runtime.drain(0.2) == 3
    work.may_end.set()
    assert [call.result(10) for call in calls] == ["0", "1", "2"]


def test_a_call_within_a_call_is_part_of_it(pool: ThreadPoolExecutor) -> None:
    """A call within a call in flight is not held back, or the outer one would never end."""
    work = Work(Runtime(router=FixedRouter(serve=Side.LEGACY)))
    outer = pool.submit(work.function, "outer")
    assert eventually(lambda: work.begun == ["outer"])
    draining = pool.submit(work.runtime.drain, 30.0)
    assert eventually(lambda: work.runtime.in_flight.held)
    work.may_end.set()
    assert outer.result(10) == "inner"
    assert draining.result(10) == 0
    work.runtime.close()


# Call ids: unique in threads and in forked processes, and not to be guessed.


def test_an_id_is_32_hexadecimal_digits_and_never_comes_again() -> None:
    """Also where one piece of randomness ends and the next one begins, and for threads that ask at once."""
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(lambda: [new_call_id() for _ in range(3 * PREPARED_IDS + 1)]) for _ in range(8)]
        made = [call_id for each in asked for call_id in each.result()]
    assert all(re.fullmatch("[0-9a-f]{32}", call_id) for call_id in made)
    assert len(set(made)) == len(made)


FORK = """
import os, warnings
from migration.running.in_flight import new_call_id
warnings.simplefilter("ignore", DeprecationWarning)
new_call_id()
reading, writing = os.pipe()
child = os.fork()
call_ids = [new_call_id() for _ in range(300)]
if child == 0:
    os.write(writing, " ".join(call_ids).encode())
    os._exit(0)
os.waitpid(child, 0)
print(len(set(call_ids) | set(os.read(reading, 1 << 16).decode().split())))
"""


def test_a_forked_process_makes_ids_of_its_own() -> None:
    """What the parent has prepared is not used by the child as well."""
    assert run_script(FORK).strip() == "600"
