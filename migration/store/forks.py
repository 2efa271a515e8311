"""Keeps a process from forking while it has a database open, and lets what a thread owned begin again in the child.

A child would take its parent's locks in the file for its own.
Source: sqlite.org, How To Corrupt An SQLite Database File, section 2.6.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

FORK_WAITS_SECONDS = 10.0
"""How long a fork waits for open databases; longer than any of them waits for another process."""


class Forked(Protocol):
    """What owns a thread, a queue or a connection."""

    def before_fork(self) -> None:
        """Close what a child must not inherit; called while no database is in use."""
        ...

    def begin_in_child(self) -> None:
        """Begin with nothing: thread, queue and locks stay the parent's."""
        ...


class _Barrier:
    """Lets any number of threads have something open, or one thread fork."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._open = 0
        self._known: weakref.WeakSet[Forked] = weakref.WeakSet()

    @contextmanager
    def unforked(self) -> Iterator[None]:
        """The process does not fork during the block."""
        with self._changed:
            self._open += 1
        try:
            yield
        finally:
            with self._changed:
                self._open -= 1
                self._changed.notify_all()

    def watch(self, owner: Forked) -> None:
        """Tell it of every fork, for as long as it lives."""
        self._known.add(owner)

    def close(self) -> None:
        """Wait until nothing is open, and let nothing be opened until `reopen`."""
        self._changed.acquire()
        self._changed.wait_for(lambda: not self._open, FORK_WAITS_SECONDS)
        for owner in tuple(self._known):
            owner.before_fork()

    def reopen(self) -> None:
        """Let databases be opened again."""
        self._changed.release()

    def reopen_in_child(self) -> None:
        """Likewise, where no other thread is left that could have anything open."""
        self._open = 0
        self._changed.release()
        for owner in tuple(self._known):
            owner.begin_in_child()


_barrier = _Barrier()
unforked = _barrier.unforked
watch_forks = _barrier.watch

os.register_at_fork(before=_barrier.close, after_in_parent=_barrier.reopen, after_in_child=_barrier.reopen_in_child)
