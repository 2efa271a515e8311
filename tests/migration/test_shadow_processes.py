"""Shadows in a process that ends, and in one that forks."""

from __future__ import annotations

from tests.migration.helpers import run_script

HANGING = """
import asyncio, os, sys, threading, time, warnings
from migration import *
from migration.model import *
from migration.routing import *
from migration.running import *
from migration.shadow import *
from migration.store import *
from migration.testing import FixedRouter, RecordingObserver
from tests.migration.outbox import OutboxReplay, rehearsing
warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of forking with threads
observer, router = RecordingObserver(), FixedRouter(shadow=True)
runtime = use_runtime(Runtime(router=router, observers=[observer], shadow_limits=ShadowLimits(waiting=200)))
hang = threading.Event()
def old():
    if rehearsing() and not hang.is_set():
        time.sleep(600)
    return 1
async def new():
    return 1
f = migrate(Migration(name="m", candidate=new, replay=OutboxReplay()))(old)
"""


def test_a_shadow_that_hangs_does_not_keep_the_process() -> None:
    """The process ends soon although legacy never does, and every sampled call was reported by then."""
    printed = run_script(
        HANGING
        + """
import atexit
atexit.register(lambda: print(sorted(found.detail for found in observer.comparisons)))
for _ in range(3):
    f()
""",
        seconds=30,
    )
    assert printed == f"{['the process is ending'] * 3}\n"


def test_calls_under_way_at_a_fork_hold_up_no_shadow_of_the_child() -> None:
    """They go on in the parent only."""
    printed = run_script(
        HANGING
        + """
hang.set()
entered, leave = threading.Event(), threading.Event()
def slow():
    entered.set()
    assert leave.wait(20)
runtime = use_runtime(Runtime(router=router, observers=[observer], shadow_limits=ShadowLimits(yield_seconds=600)))
f = migrate(Migration(name="m", candidate=new, replay=OutboxReplay()))(old)
g = migrate(Migration(name="g", candidate=new))(slow)
thread = threading.Thread(target=g)
thread.start()
assert entered.wait(10)
child = os.fork()
if child == 0:
    f()
    print(runtime.shadows.drain(10), flush=True)
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
leave.set()
thread.join()
""",
    )
    assert printed == "True\n"


def test_a_fork_in_the_middle_of_many() -> None:
    """What waited stays with the parent; parent and child account for all of their own, and compare on."""
    printed = run_script(
        HANGING
        + """
hang.set()
gate = threading.Event()
replay = OutboxReplay(stale=lambda: not gate.wait(20))
f = migrate(Migration(name="m", candidate=new, replay=replay))(old)
for _ in range(150):
    f()
child = os.fork()
gate.set()
if child == 0:
    observer.comparisons.clear()
for _ in range(10):
    f()
assert runtime.shadows.drain(20)
print("child" if child == 0 else "parent", len(observer.comparisons), flush=True)
if child == 0:
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
""",
    )
    assert sorted(printed.splitlines()) == ["child 10", "parent 160"]
