"""Processes that end, fork and start again lose nothing and leak nothing."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from migration import Migration, Runtime, Side, migrate
from migration.testing import FixedRouter
from tests.migration.helpers import eventually, run_script

PROLOGUE = """
import asyncio, os, pathlib, sys, threading, time
from migration import *
from migration.model import *
from migration.routing import *
from migration.running import *
from migration.shadow import *
from migration.store import *
from migration.testing import FixedRouter, RecordingObserver

started = threading.Semaphore(0)

async def new(path):
    started.release()
    await asyncio.sleep(0.2)
    return "new", await asyncio.to_thread(pathlib.Path(path).read_text)

def old(path):
    return "old", pathlib.Path(path).read_text()

observer = RecordingObserver()
router = FixedRouter(serve=Side.CANDIDATE)
runtime = use_runtime(Runtime(router=router, observers=[observer]))
f = migrate(Migration(name="m", candidate=new))(old)
"""


def test_uploads_under_way_finish_when_the_main_thread_ends(tmp_path: Path) -> None:
    """Non-daemon threads outlive the main one: their candidates still read files in threads, and none is lost.

    Calls that begin after the end are served by legacy. No executor was used before: the order in which pools are shut
    must not depend on that.
    """
    upload = tmp_path / "upload.txt"
    upload.write_text("contents")
    printed = run_script(
        PROLOGUE
        + """
def upload(number):
    first = f(sys.argv[1])
    second = f(sys.argv[1])
    print(f"{first[0]} {second[0]} {first == ('new', 'contents')}\\n", end="", flush=True)
for number in range(20):
    threading.Thread(target=upload, args=(number,)).start()
for number in range(20):
    started.acquire()
""",
        str(upload),
    )
    assert printed.splitlines() == ["new old True"] * 20


def test_a_first_call_after_the_main_thread_has_ended_is_served_by_legacy() -> None:
    """Too late to start a loop whose threads could still read: legacy serves, and nothing is raised."""
    printed = run_script(
        PROLOGUE
        + """
def late():
    while threading.main_thread().is_alive():
        time.sleep(0.01)
    print(f(sys.argv[1]), asyncio.run(only_awaiting()))
async def only_awaiting():
    return runtime.loop.closed
threading.Thread(target=late).start()
""",
        __file__,
    )
    assert printed.startswith("('old',")
    assert printed.endswith("True\n")


def test_shadows_under_way_are_reported_at_exit() -> None:
    """Each sampled call has a comparison when the process has ended: compared, or dropped with a reason."""
    printed = run_script(
        PROLOGUE
        + """
import atexit
from tests.migration.outbox import OutboxReplay
router.shadow = True
g = migrate(Migration(name="m", candidate=new, replay=OutboxReplay()))(old)
for _ in range(5):
    g(sys.argv[1])
atexit.register(lambda: print(sorted(c.verdict.value for c in observer.comparisons)))
""",
        __file__,
    )
    verdicts = printed.strip("[]\n").replace("'", "").split(", ")
    assert len(verdicts) == 5
    assert set(verdicts) <= {"identical", "different", "dropped"}
    assert "different" in verdicts or "identical" in verdicts


def test_a_forked_child_calls_as_its_parent_did() -> None:
    """The parent's loop, pools and pending shadows stay behind; parent and child both go on, with every side."""
    printed = run_script(
        PROLOGUE
        + """
from tests.migration.outbox import OutboxReplay
replay = OutboxReplay()
router.shadow = True
f = migrate(Migration(name="m", candidate=new, replay=replay))(lambda path: ("new", pathlib.Path(path).read_text()))
path = sys.argv[1]
def check(who):
    before = len(observer.comparisons)
    assert f(path)[0] == "new"
    assert asyncio.run(f.aio(path))[0] == "new"
    assert runtime.shadows.drain(20), "the shadows of a child run"
    found = observer.comparisons[before:]
    assert [c.verdict.value for c in found][-2:] == ["identical"] * 2, found
    print(who, "done", flush=True)
for _ in range(4):
    f(path)  # two shadows run and two wait when the process forks
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of forking with threads
child = os.fork()
check("child" if child == 0 else "parent")
if child == 0:
    runtime.close()
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
""",
        __file__,
    )
    assert sorted(printed.splitlines()) == ["child done", "parent done"]


def test_multiprocessing_children_of_a_busy_parent() -> None:
    """`fork` in the midst of calls by other threads, again and again, never leaves a child waiting for a lock."""
    printed = run_script(
        PROLOGUE
        + """
import multiprocessing, warnings
warnings.simplefilter("ignore", DeprecationWarning)
async def quick(path):
    return "new", ""
f = migrate(Migration(name="m", candidate=quick))(old)
stop = threading.Event()
def busy():
    while not stop.is_set():
        f("")
threads = [threading.Thread(target=busy) for _ in range(4)]
[thread.start() for thread in threads]
context = multiprocessing.get_context("fork")
def child():
    assert [f("") for _ in range(5)] == [("new", "")] * 5
for _ in range(10):
    process = context.Process(target=child)
    process.start()
    process.join(10)
    print(process.exitcode, flush=True)
    process.kill()
stop.set()
[thread.join() for thread in threads]  # or they would be served by legacy, rightly, while the process ends
""",
        __file__,
    )
    assert printed.split() == ["0"] * 10


def test_many_runtimes_leave_nothing_behind() -> None:
    """Open and close fifty: neither threads nor file descriptors add up."""

    async def new() -> str:
        return "new"

    def use_one() -> None:
        runtime = Runtime(router=FixedRouter(serve=Side.CANDIDATE, shadow=True))
        assert migrate(Migration(name="m", candidate=new), runtime=runtime)(lambda: "old")() == "new"
        runtime.close()
        runtime.close()

    def held() -> tuple[int, int]:
        return threading.active_count(), len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # names are enough

    use_one()
    before = held()
    for _ in range(50):
        use_one()
    assert eventually(lambda: held() <= before)
