"""What a forked child does not share with its parent: locks that another thread holds, threads, open files.

A fork copies the memory and the thread that forks. A lock that another thread holds stays held in the child for ever,
a module that it imports stays half imported, and what a thread or a connection was to do is the parent's to do.
"""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401  # before this module: its hook takes a lock, and is to run after the one here
import logging  # noqa: F401  # likewise
import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

FORK_WAITS_SECONDS = 60.0
"""How long a fork waits for what must not be cut off: longer than the imports of a start take on a busy machine.

A fork that waits too long is late; a child that is forked too early waits for ever.
"""

LET_FORK_SECONDS = 0.1
"""How long a block lets a waiting fork go first; no longer, for that may wait for a thread that waits for this one."""


class Renewed(Protocol):
    """What owns a thread, a queue or a connection, and has none of them in a forked child."""

    def begin_in_child(self) -> None:
        """Begin with nothing: what the parent had stays the parent's."""
        ...


class Closed(Protocol):
    """What owns a file that a child must not inherit."""

    def before_fork(self) -> None:
        """Close it. No block of `unforked` runs meanwhile."""
        ...


class _Forks:
    """Lets any number of threads do what a fork must not cut off, or one thread fork."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside: list[int] = []  # threads, as often as they are in a block
        self._forking = False
        # by identity, and not in a set: another thread may add to them while they are gone through
        self._locks: weakref.WeakValueDictionary[int, threading.Lock] = weakref.WeakValueDictionary()
        self._renewed: weakref.WeakValueDictionary[int, Renewed] = weakref.WeakValueDictionary()
        self._closed: weakref.WeakValueDictionary[int, Closed] = weakref.WeakValueDictionary()

    @contextmanager
    def unforked(self) -> Iterator[None]:
        """No other thread forks the process during the block: for an open database, an import."""
        thread = threading.get_ident()
        with self._changed:
            if thread not in self._inside:  # or else a fork would wait for ever among threads that are busy
                self._changed.wait_for(lambda: not self._forking, LET_FORK_SECONDS)
            self._inside.append(thread)
        try:
            yield
        finally:
            with self._changed:
                self._inside.remove(thread)
                self._changed.notify_all()

    def new_lock(self) -> threading.Lock:
        """A lock that is free in a forked child, whichever thread of the parent held it."""
        lock = threading.Lock()
        self._locks[id(lock)] = lock
        return lock

    def renew_in_child(self, owner: Renewed) -> None:
        """Have `owner` begin with nothing in every forked child, for as long as it lives."""
        self._renewed[id(owner)] = owner

    def close_before_fork(self, owner: Closed) -> None:
        """Have `owner` close what a child must not inherit before every fork, for as long as it lives."""
        self._closed[id(owner)] = owner

    def before(self) -> None:
        """Wait until no other thread is in a block of `unforked`; then none begins until the fork is over."""
        thread = threading.get_ident()
        self._changed.acquire()
        self._forking = True
        self._changed.wait_for(lambda: all(each == thread for each in self._inside), FORK_WAITS_SECONDS)
        for reference in self._closed.valuerefs():
            if (owner := reference()) is not None:
                owner.before_fork()

    def after_in_parent(self) -> None:
        """Let blocks begin again."""
        self._forking = False
        self._changed.notify_all()
        self._changed.release()

    def after_in_child(self) -> None:
        """Likewise, where no other thread is left, and renew what must not be the parent's."""
        thread = threading.get_ident()
        self._inside = [each for each in self._inside if each == thread]
        self.after_in_parent()
        for held in self._locks.valuerefs():
            if (lock := held()) is not None:
                lock._at_fork_reinit()  # type: ignore[attr-defined]  # noqa: SLF001  # as the standard library does
        for reference in self._renewed.valuerefs():
            if (owner := reference()) is not None:
                owner.begin_in_child()


_forks = _Forks()
unforked = _forks.unforked
new_lock = _forks.new_lock
renew_in_child = _forks.renew_in_child
close_before_fork = _forks.close_before_fork

os.register_at_fork(before=_forks.before, after_in_parent=_forks.after_in_parent, after_in_child=_forks.after_in_child)
