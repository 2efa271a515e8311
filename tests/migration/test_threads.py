"""A background thread that is refused or dies is noticed and begins again, and no caller waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from migration import Migration, Runtime, Side, call_blocking, migrate
from migration.model import LoopUnavailableError, Notice, NoticeKind
from migration.routing.runtime import temporary_runtime
from migration.running import BackgroundLoop
from migration.store import Ledger
from migration.testing import FixedRouter
from migration.threads import RESTART_SECONDS, RETRY_SECONDS, BackgroundThread, thread_troubles
from tests.migration.helpers import eventually, in_thread, run_script

Refuse = Callable[[str], contextlib.AbstractContextManager[None]]


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Refuse:
    """Let the system have no thread whose name begins so."""

    @contextlib.contextmanager
    def refused(prefix: str) -> Iterator[None]:
        def start(thread: threading.Thread) -> None:
            if thread.name.startswith(prefix):
                raise RuntimeError("can't start new thread")
            started(thread)

        started = threading.Thread.start
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", start)
            yield

    return refused


def made(work: Callable[[], object]) -> BackgroundThread:
    return BackgroundThread(work, name="test-work")


def troubles(name: str) -> tuple[int, int]:
    found = thread_troubles().get(name)
    return (found.refused, found.died) if found else (0, 0)


class Lasting:
    """Work that lasts until it is let go, and counts how often it began."""

    def __init__(self) -> None:
        self.begun = 0
        self.release = threading.Event()

    def __call__(self) -> None:
        self.begun += 1
        self.release.wait(10)


@pytest.fixture
def lasting() -> Iterator[Lasting]:
    work = Lasting()
    yield work
    work.release.set()


def test_a_refused_thread_is_not_remembered_and_is_tried_again_once_a_second(refuse: Refuse, lasting: Lasting) -> None:
    """`start` says that it does not run; asking often costs the system one refusal a second."""
    thread = made(lasting)
    refused, _ = troubles("test-work")
    with refuse("test-work"):
        assert not any(thread.start() for _ in range(1000))
        assert not thread.running
        assert thread.refusal == "can't start new thread"
    assert troubles("test-work")[0] == refused + 1
    began = time.monotonic()
    assert eventually(thread.start)
    assert time.monotonic() - began <= RETRY_SECONDS + 0.5
    assert thread.start()
    assert lasting.begun == 1


@pytest.mark.parametrize("error", [SystemExit, MemoryError, KeyboardInterrupt, ValueError])
def test_work_that_raises_begins_again_by_itself(error: type[BaseException], lasting: Lasting) -> None:
    """Whatever ends it, and though no other call comes: it is back within a second, and counted."""
    failures = iter([error("boom")])

    def work() -> None:
        for failure in failures:
            raise failure
        lasting()

    _, died = troubles("test-work")
    thread = made(work)
    assert thread.start()
    assert eventually(lambda: lasting.begun == 1, RESTART_SECONDS + 0.5)
    assert thread.running
    assert troubles("test-work")[1] == died + 1
    assert thread_troubles()["test-work"].problem == f"{error.__name__}: boom"


def test_a_vanished_thread_is_found_by_the_use_of_any_other(monkeypatch: pytest.MonkeyPatch, lasting: Lasting) -> None:
    """A thread that ended without a word, as by a failing log handler, runs again within about a second."""
    thread, other = made(lasting), made(lasting)
    with monkeypatch.context() as patched:
        patched.setattr(BackgroundThread, "_run", lambda _: None)
        assert thread.start()
    assert other.start()
    assert eventually(lambda: other.start() and lasting.begun == 2, RETRY_SECONDS + 1)


def test_a_thread_that_ends_by_itself_runs_again_only_when_asked(lasting: Lasting) -> None:
    """Returning is no trouble: nothing is counted, and nothing runs until the next `start`."""
    before = troubles("test-work")
    thread = made(lasting)
    assert thread.start()
    lasting.release.set()
    assert eventually(lambda: not thread.running)
    time.sleep(RETRY_SECONDS)
    assert made(lasting).start()
    assert not thread.running
    assert troubles("test-work") == before


def test_a_forked_child_has_a_thread_of_its_own_and_no_trouble() -> None:
    """It runs nothing until it is asked to, and counts from nothing."""
    told = run_script(
        "import os, threading, time\n"
        "from migration.threads import BackgroundThread, process_id, thread_troubles\n"
        "def work():\n"
        "    if len(ran) == 0:\n"
        "        ran.append(os.getpid())\n"
        "        raise ValueError('boom')\n"
        "    ran.append(os.getpid())\n"
        "    release.wait(10)\n"
        "ran, release = [], threading.Event()\n"
        "thread = BackgroundThread(work, name='w')\n"
        "thread.start()\n"
        "while len(ran) < 2: time.sleep(0.01)\n"
        "parent = process_id()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    release = threading.Event()\n"
        "    clean = not thread.running and not thread_troubles() and process_id() != parent\n"
        "    thread.start()\n"
        "    while ran[-1] != os.getpid(): time.sleep(0.01)\n"
        "    os._exit(0 if clean and thread.running else 1)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), thread.running)\n"
    )
    assert told == "0 True\n"


# The background loop


@pytest.fixture
def loop() -> Iterator[BackgroundLoop]:
    loop = BackgroundLoop("test-loop", drain_seconds=1.0)
    yield loop
    loop.close()


async def answer() -> str:
    return "answered"


@pytest.mark.parametrize("what", ["test-loop", "test-loop-worker"])
def test_a_loop_without_a_thread_refuses_work_and_begins_when_there_is_one(
    what: str, refuse: Refuse, loop: BackgroundLoop
) -> None:
    """The loop's own thread, or the first one for its blocking work, is refused: nothing of the work runs."""
    with refuse(what), pytest.raises(LoopUnavailableError, match="can't start new thread"):
        loop.run(answer)
    assert eventually(lambda: runs(loop))


def runs(loop: BackgroundLoop) -> bool:
    with contextlib.suppress(LoopUnavailableError):
        return in_thread(lambda: loop.run(answer)).result(5) == "answered"
    return False


def test_blocking_work_of_a_loop_uses_the_threads_that_it_has(refuse: Refuse, loop: BackgroundLoop) -> None:
    """A refused worker fails no work: each piece is done once, by those that run."""
    done: list[int] = []

    async def work() -> None:
        await asyncio.gather(*(asyncio.to_thread(done.append, number) for number in range(50)))

    loop.run(answer)
    with refuse("test-loop-worker"):
        in_thread(lambda: loop.run(work)).result(5)
    assert sorted(done) == list(range(50))


def test_a_loop_that_dies_leaves_no_caller_waiting_and_begins_again(loop: BackgroundLoop) -> None:
    """As when no memory is left: the call in flight is cancelled, and a later one is answered."""
    at_work = threading.Event()

    async def hang() -> None:
        at_work.set()
        await asyncio.Event().wait()

    async def die() -> None:
        running = asyncio.get_running_loop()

        def run_once() -> None:
            del running._run_once  # type: ignore[attr-defined]
            raise MemoryError

        running._run_once = run_once  # type: ignore[attr-defined]

    waiting = in_thread(lambda: loop.run(hang))
    assert at_work.wait(5)
    in_thread(lambda: loop.run(die))
    with pytest.raises(asyncio.CancelledError):
        waiting.result(5)
    assert eventually(lambda: runs(loop))
    assert thread_troubles()["test-loop"].died


def test_work_that_cannot_begin_answers_its_caller(runtime: Runtime) -> None:
    """A function that raises instead of returning a coroutine: its error reaches the caller, who does not wait."""
    with temporary_runtime(runtime), pytest.raises(TypeError, match="unexpected keyword"):
        in_thread(lambda: call_blocking(answer, more=1)).result(5)  # type: ignore[call-arg, unused-ignore]


def test_legacy_serves_where_no_file_is_left_for_a_loop(router: FixedRouter) -> None:
    """Too many open files: the loop cannot be made, and the caller notices nothing."""

    def new_loop() -> asyncio.AbstractEventLoop:
        raise OSError(24, "Too many open files")

    async def new() -> str:
        return "new"

    router.serve = Side.CANDIDATE
    runtime = Runtime(router=router, new_loop=new_loop)
    assert migrate(Migration(name="m", candidate=new), runtime=runtime)(lambda: "old")() == "old"


@pytest.mark.parametrize("side", Side)
def test_awaiting_callers_get_legacy_where_no_thread_is_left(
    side: Side, router: FixedRouter, runtime: Runtime, refuse: Refuse
) -> None:
    """Legacy runs on the caller's own loop then, once, whatever its executor has queued."""
    ran: list[str] = []

    async def new() -> str:
        return "new"

    def old() -> str:
        ran.append("old")
        return "old"

    async def calls() -> str:
        with refuse(""):
            found = await shim.aio()
        await asyncio.to_thread(int)  # has the executor do what it was given before
        return found

    router.serve = side
    shim = migrate(Migration(name="m", candidate=new), runtime=runtime)(old)
    assert in_thread(lambda: asyncio.run(calls())).result(10) == "old"
    assert ran == ["old"]


# What writes

NOTICE = Notice(kind=NoticeKind.FELL_BACK, migration="m", text="t")


def test_a_flush_without_a_thread_writes_in_the_caller(refuse: Refuse, path: Path) -> None:
    """What waits is not lost with the process: the one that asks for it writes it."""
    ledger = Ledger(path)
    with refuse("migration-ledger"):
        ledger.noticed(NOTICE)
        began = time.monotonic()
        assert ledger.flush()
        assert time.monotonic() - began < 1
    assert ledger.status("m").notices == {"fell_back": 1}


def test_the_ledger_tells_what_happened_to_threads(refuse: Refuse, path: Path) -> None:
    """Other processes see it: `shim status` reads it there."""
    ledger = Ledger(path)
    with refuse("test-work"):
        assert not made(int).start()
    ledger.noticed(NOTICE)
    assert ledger.flush()
    [found] = [trouble for name, trouble in ledger.threads().items() if name == "test-work"]
    assert found.refused >= 1
    assert found.problem == "can't start new thread"
    assert abs(found.at - time.time()) < 60


@pytest.mark.parametrize("refused", ["", "m"], ids=["threads", "no-threads"])
def test_the_end_of_the_interpreter_loses_nothing(path: Path, refused: str) -> None:
    """Records that wait are written, by the thread or without it; a call made after the end is legacy's."""
    told = run_script(
        "import atexit, sys, threading\n"
        "from pathlib import Path\n"
        "from migration import Migration, Runtime, Side, migrate\n"
        "from migration.store import Ledger\n"
        "from migration.testing import FixedRouter\n"
        "started = threading.Thread.start\n"
        "def start(thread):\n"
        "    if sys.argv[2] and thread.name.startswith(sys.argv[2]): raise RuntimeError('no thread')\n"
        "    started(thread)\n"
        "threading.Thread.start = start\n"
        "async def new(): return 'new'\n"
        "runtime = Runtime(router=FixedRouter(serve=Side.CANDIDATE), observers=[Ledger(Path(sys.argv[1]))])\n"
        "f = migrate(Migration(name='m', candidate=new), runtime=runtime)(lambda: 'old')\n"
        "atexit.register(lambda: print(f()))\n"
        "print(f())\n",
        str(path),
        refused,
    )
    assert told == ("old\nold\n" if refused else "new\nold\n")
    assert sum(totals.calls for totals in Ledger(path).status("m").sides.values()) == (3 if refused else 2)
