"""Memory that files are read into: few buffers, used again and again.

They are anonymous mappings and so begin at the start of a page. Reading into a `bytearray`, which does not, is about
four times slower on some processors.
"""

from __future__ import annotations

import mmap
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tools.settings import MEGABYTE

BUFFER_BYTES = MEGABYTE
"""Size of a buffer: switching to a thread for each piece costs about as much as reading 1 MB."""

CROWDED_BUFFER_BYTES = 384 * 1024
"""Size of a buffer while many are in use."""

LARGE_BUFFERS = 16
"""How many buffers in use at once have the full size."""

IDLE_BUFFERS = 4
"""How many buffers of each size are kept for the next reader."""


class Buffers:
    """Lends buffers, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lent = 0
        self._idle: dict[int, list[mmap.mmap]] = {BUFFER_BYTES: [], CROWDED_BUFFER_BYTES: []}

    @contextmanager
    def lend(self) -> Iterator[memoryview]:
        """A buffer with whatever it held before.

        Nobody may refer to it afterwards. When the borrower fails it is not lent again, for a connection that broke may
        still refer to it.
        """
        buffer, idle = self._take()
        try:
            yield memoryview(buffer)
        except BaseException:
            self._lent_less()
            raise
        with self._lock:
            self._lent -= 1
            if len(idle) < IDLE_BUFFERS:
                idle.append(buffer)

    def _take(self) -> tuple[mmap.mmap, list[mmap.mmap]]:
        with self._lock:
            self._lent += 1
            size = BUFFER_BYTES if self._lent <= LARGE_BUFFERS else CROWDED_BUFFER_BYTES
            idle = self._idle[size]
            if idle:
                return idle.pop(), idle
        return mmap.mmap(-1, size), idle

    def _lent_less(self) -> None:
        with self._lock:
            self._lent -= 1


BUFFERS = Buffers()
"""Those of the process."""
