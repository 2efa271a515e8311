"""Keeps a process from forking while it has a database open.

A child would take its parent's locks in the file for its own.
Source: sqlite.org, How To Corrupt An SQLite Database File, section 2.6.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

FORK_WAITS_SECONDS = 10.0
"""How long a fork waits for open databases; longer than any of them waits for another process."""


class _Barrier:
    """Lets any number of threads have something open, or one thread fork."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._open = 0

    @contextmanager
    def unforked(self) -> Iterator[None]:
        """Nobody forks during the block."""
        with self._changed:
            self._open += 1
        try:
            yield
        finally:
            with self._changed:
                self._open -= 1
                self._changed.notify_all()

    def close(self) -> None:
        """Wait until nothing is open, and let nothing be opened until `reopen`."""
        self._changed.acquire()
        self._changed.wait_for(lambda: not self._open, FORK_WAITS_SECONDS)

    def reopen(self) -> None:
        """Let databases be opened again."""
        self._changed.release()

    def reopen_in_child(self) -> None:
        """Likewise, where no other thread is left that could have anything open."""
        self._open = 0
        self._changed.release()


_barrier = _Barrier()
unforked = _barrier.unforked

os.register_at_fork(before=_barrier.close, after_in_parent=_barrier.reopen, after_in_child=_barrier.reopen_in_child)
