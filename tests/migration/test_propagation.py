"""What is carried into threads and pools of a recorded or replayed run, and that nothing else is."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from multiprocessing.pool import ThreadPool

import pytest

from migration import Migration, Runtime, Side, migrate
from migration.model import Verdict
from migration.running.propagation import FollowedRun, current, following
from migration.testing import FixedRouter, RecordingObserver
from tests.migration.outbox import OutboxReplay, rehearsing
from tests.migration.shadowing import Bench

of_run: ContextVar[str | None] = ContextVar("of_run", default=None)
of_caller: ContextVar[str | None] = ContextVar("of_caller", default=None)
of_function: ContextVar[str | None] = ContextVar("of_function", default=None)

Seen = tuple[str | None, str | None, str | None]


def seen() -> Seen:
    return of_run.get(), of_caller.get(), of_function.get()


def in_a_thread() -> Seen:
    found: list[Seen] = []
    thread = threading.Thread(target=lambda: found.append(seen()))
    thread.start()
    thread.join()
    return found[0]


def in_a_thread_of_its_own_class() -> Seen:
    class Seeing(threading.Thread):
        def run(self) -> None:
            self.found = seen()

    thread = Seeing()
    thread.start()
    thread.join()
    return thread.found


def in_a_pool() -> Seen:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(seen).result()


def in_a_thread_pool() -> Seen:
    with ThreadPool(1) as pool:
        return pool.map(lambda _: seen(), [None])[0]


WAYS = [in_a_thread, in_a_thread_of_its_own_class, in_a_pool, in_a_thread_pool]


@contextmanager
def run() -> Iterator[FollowedRun]:
    """A run, inside of which its function has set a variable of its own."""
    before = copy_context()
    token = of_run.set("run")
    with following(before) as followed:
        own = of_function.set("function")
        yield followed
        of_function.reset(own)
    of_run.reset(token)


@pytest.mark.parametrize("way", WAYS)
def test_only_what_was_set_for_the_run_is_carried(way: Callable[[], Seen]) -> None:
    """Not the variables of its caller, nor those of the function: a thread sees them no more than without a run."""
    token = of_caller.set("caller")
    with run():
        assert way() == ("run", None, None)
    assert way() == (None, None, None)
    of_caller.reset(token)


def test_a_pool_that_a_run_has_begun_is_shared_afterwards() -> None:
    """Its threads have none of the variables; the work of a run has, wherever it waits."""
    with run():
        pool = ThreadPoolExecutor(1)
        assert pool.submit(in_a_pool).result() == ("run", None, None)
    assert pool.submit(seen).result() == (None, None, None)
    with run():
        assert pool.submit(seen).result() == ("run", None, None)
    assert pool.submit(in_a_thread).result() == (None, None, None)
    pool.shutdown()


def test_what_is_left_of_a_run_has_its_variables_no_more_when_it_is_let_go() -> None:
    """Those that were set for it; it is known by its name, and the variables of the caller are the caller's."""
    go, found = threading.Event(), list[str | None]()

    def stay() -> None:
        found.append(current(of_run))
        go.wait(10)
        found.extend([current(of_run), of_run.get()])

    with run() as followed:
        thread = threading.Thread(target=stay, name="staying")
        thread.start()
        assert followed.left() == "the thread 'staying'"
        followed.released = True
        assert current(of_run) is None
        assert current(of_function) == "function"
    go.set()
    thread.join()
    assert followed.left() is None
    assert found == ["run", None, "run"]


def test_a_thread_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing keeps it alive, a `run` of its own is kept, and one that cannot start can start later."""
    with run():
        thread = threading.Thread(target=lambda: None)
        own = thread.run = lambda: None  # type: ignore[method-assign]  # some do
        with monkeypatch.context() as patch:
            patch.setattr(threading, "_start_new_thread", _refused, raising=False)
            patch.setattr(threading, "_start_joinable_thread", _refused, raising=False)
            with pytest.raises(RuntimeError):
                thread.start()
        assert thread.run is own
        plain = threading.Thread(target=lambda: None)
        plain.start()
        plain.join()
        assert "run" not in vars(plain)
        gone = weakref.ref(plain)
        gc.disable()
        del plain
        gc.enable()
        assert gone() is None


def _refused(*_args: object, **_options: object) -> None:
    raise RuntimeError("can't start new thread")


def test_a_rehearsal_reaches_into_threads_and_the_recording_of_the_primary_too(bench: Bench) -> None:
    """Both sides use threads, and only the primary has an effect."""

    def upload() -> object:
        thread = threading.Thread(target=lambda: bench.outbox.send(path="/thread"))
        thread.start()
        thread.join()
        with ThreadPoolExecutor(1) as pool:
            pool.submit(bench.outbox.send, path="/pool").result()
        return {"id": "1"}

    bench.old = bench.new = upload
    assert bench.verdict().verdict is Verdict.IDENTICAL
    assert [each["path"] for each in bench.outbox.delivered] == ["/files", "/thread", "/pool"]


@pytest.mark.parametrize("serve", Side)
def test_a_side_that_leaves_a_thread_running_is_not_run_again(
    router: FixedRouter, observer: RecordingObserver, serve: Side
) -> None:
    """In this process: it may work for callers later. What ends soon is waited for."""
    router.serve, router.shadow = serve, True
    runtime = Runtime(router=router, observers=[observer])
    go, soon = threading.Event(), threading.Event()

    def upload(word: str) -> str:
        if rehearsing():
            wait = go.wait if word == "long" else lambda _: soon.wait(0.05)
            threading.Thread(target=lambda: wait(20), name=word).start()
        return word

    async def candidate(word: str) -> str:
        return await asyncio.to_thread(upload, word)

    shim = migrate(Migration(name="m", candidate=candidate, replay=OutboxReplay()), runtime=runtime)(upload)
    for word in ("short", "long", "short"):
        assert shim(word) == word
        assert runtime.shadows.drain(10)
    first, second, third = observer.comparisons
    assert first.verdict is Verdict.IDENTICAL
    assert second.verdict is third.verdict is Verdict.DROPPED
    assert second.detail == third.detail
    assert second.detail.startswith(f"{serve} leaves the thread 'long' running, which may work for callers later")
    go.set()
    runtime.close()
