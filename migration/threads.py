"""Background threads: remembered once they run, tried again when the system refuses them, begun again when they die.

A caller never waits for a thread that does not exist: `BackgroundThread.start` says whether it runs.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from migration.forking import new_lock, renew_in_child

RETRY_SECONDS = 1.0
"""How long until a thread that the system refused is tried again; also between two looks for threads that died."""

RESTART_SECONDS = 0.5
"""How long a thread pauses whose work raised, before it begins again."""

_logger = logging.getLogger("migration")


def greenlets_of() -> str | None:
    """Whose greenlets the threads of this process are, `gevent` or `eventlet`; None if they are the system's."""
    gevent = sys.modules.get("gevent.monkey")
    if gevent is not None and gevent.is_module_patched("threading"):
        return "gevent"
    eventlet = sys.modules.get("eventlet.patcher")
    if eventlet is not None and eventlet.is_monkey_patched("thread"):
        return "eventlet"
    return None


def why_no_loop() -> str | None:
    """Why no event loop can run in a thread of its own in this process; None if one can."""
    whose = greenlets_of()
    return None if whose is None else f"the threads of this process are greenlets of {whose}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadTrouble:
    """What happened to the background threads of one name.

    Attributes:
        refused: how often the system refused to start one; it is asked once in `RETRY_SECONDS` at most.
        died: how often one ended by an exception.
        problem: what was said the last time.
        at: when that was, in seconds since the epoch.
    """

    refused: int = 0
    died: int = 0
    problem: str = ""
    at: float = 0.0


class _Threads:
    """The background threads of this process, and what happened to them."""

    def __init__(self) -> None:
        self._lock = new_lock()
        self._known: weakref.WeakValueDictionary[int, BackgroundThread] = weakref.WeakValueDictionary()
        self.begin_in_child()
        renew_in_child(self)

    def begin_in_child(self) -> None:
        self.process = uuid.uuid4().hex
        self.next_look = 0.0
        self._troubles: dict[str, ThreadTrouble] = {}

    def add(self, thread: BackgroundThread) -> None:
        self._known[id(thread)] = thread

    def look(self) -> None:
        """Begin again what should run and does not."""
        self.next_look = time.monotonic() + RETRY_SECONDS
        for reference in self._known.valuerefs():
            if (thread := reference()) is not None:
                thread.revive()

    def troubles(self) -> Mapping[str, ThreadTrouble]:
        with self._lock:
            return dict(self._troubles)

    def note(self, name: str, problem: str, *, refused: int = 0, died: int = 0) -> None:
        """Count it. The log has the first of each kind; after that it can be read in the counts."""
        with self._lock:
            before = self._troubles.get(name, ThreadTrouble())
            self._troubles[name] = replace(
                before, refused=before.refused + refused, died=before.died + died, problem=problem, at=time.time()
            )
        first = not (before.refused if refused else before.died)
        what = "cannot be started" if refused else "died"
        level = logging.WARNING if first else logging.DEBUG
        with suppress(Exception):  # a handler may fail in any way, and the thread must begin again
            _logger.log(level, "the background thread %s %s (%s), and begins again when it can", name, what, problem)


_threads = _Threads()
thread_troubles = _threads.troubles


def process_id() -> str:
    """An id that no other process has, of any machine; a forked child has its own."""
    return _threads.process


def note_refusal(name: str, error: Exception) -> None:
    """Count a thread of this name that the system refused."""
    _threads.note(name, str(error) or type(error).__name__, refused=1)


class BackgroundThread:
    """A daemon thread for one lasting piece of work. It runs from `start` until the work returns.

    Work that raises begins again, in the same thread. What the system refuses is tried again at the next `start` of any
    background thread of the process, and so is a thread that vanished: both within about a second.

    Args:
        work: what it does. It may run again after it has raised.
        name: of the thread; it also counts what happens to it.
    """

    def __init__(self, work: Callable[[], object], *, name: str) -> None:
        self.name = name
        self._work = work
        self._lock = new_lock()
        self.begin_in_child()
        renew_in_child(self)
        _threads.add(self)

    def begin_in_child(self) -> None:
        """Do not run: a fork carries no thread over."""
        self._thread: threading.Thread | None = None
        self._wanted = False
        self._refusal = ""
        self._retry_at = 0.0
        self._made_for = greenlets_of()

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self._thread is not None

    @property
    def refusal(self) -> str | None:
        """Why it cannot be started now; None if that may be tried."""
        return self._refusal if not self.running and time.monotonic() < self._retry_at else None

    def start(self) -> bool:
        """Have it run, unless it does; whether it runs now. It costs next to nothing where it does."""
        if time.monotonic() >= _threads.next_look:
            _threads.look()
        return self._thread is not None or self._start()

    def revive(self) -> None:
        """Begin again if it should run and does not."""
        thread = self._thread
        if thread is not None and not thread.is_alive():
            self._thread = None
            _threads.note(self.name, "it has vanished", died=1)
        if self._wanted and self._thread is None:
            self._start(wait=0.0)

    def retire(self) -> None:
        """End it, called from within as its last act: from now on `start` begins another one."""
        with self._lock:
            if self._is_this():
                self._thread = None
                self._wanted = False

    def join(self, timeout: float) -> None:
        """Wait until it has ended, at most `timeout` seconds."""
        thread = self._thread
        if thread is not None:
            thread.join(timeout)

    def _start(self, *, wait: float = RETRY_SECONDS) -> bool:
        if not self._lock.acquire(timeout=wait):  # a signal's handler may have interrupted this very function
            return False
        refused: Exception | None = None
        try:
            self._wanted = True
            if self._thread is not None or time.monotonic() < self._retry_at:
                return self._thread is not None
            self._check_scheduler()
            thread = threading.Thread(target=self._run, name=self.name, daemon=True)
            thread.start()
            self._thread = thread
        except (RuntimeError, MemoryError) as error:  # no thread is left, no memory, or the process is ending
            refused = error
            self._refusal = str(error) or type(error).__name__
            self._retry_at = time.monotonic() + RETRY_SECONDS
        finally:
            self._lock.release()
        if refused is not None:
            note_refusal(self.name, refused)
        return refused is None

    def _check_scheduler(self) -> None:
        """Locks of the system's threads would make all greenlets wait."""
        now = greenlets_of()
        if now != self._made_for:
            raise RuntimeError(f"{now} patched the threads of this process after it was set up")

    def _run(self) -> None:
        while True:
            try:
                self._work()
            except BaseException as error:  # noqa: BLE001  # whatever it is, the work goes on
                _threads.note(self.name, f"{type(error).__name__}: {error}", died=1)
            else:
                self.retire()
                return
            with self._lock:
                if not self._is_this():
                    return
            time.sleep(RESTART_SECONDS)

    def _is_this(self) -> bool:
        return self._thread is threading.current_thread()
