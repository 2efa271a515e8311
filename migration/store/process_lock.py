"""Locks that the operating system takes back when their process ends, in whatever way."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from migration.forking import new_lock
from migration.store.database import PRIVATE_FILE, file_identity, make_private_folder

_LONGEST_NAME = 200


class ProcessLock:
    """This process, in the eyes of the others that use the same file.

    It holds a lock on one byte, at a random place. Locks of this kind (POSIX, `fcntl`) belong to the process: the
    kernel gives them up when it ends, and a forked child does not have them. A process number would not do: it is
    given again to another process, and means nothing in another container.

    Attributes:
        number: the place of the byte.

    Raises:
        OSError: the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        make_private_folder(path.parent)
        self.number = secrets.randbelow(2**40)
        # never closed while the process lives: closing any descriptor of the file would give up every lock on it
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
        self._identity = file_identity(path)
        fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, self.number)

    @property
    def name(self) -> str:
        """The number as text."""
        return str(self.number)

    def release(self) -> None:
        """Give the lock up, with every other one of this process in the file."""
        os.close(self._file)

    def is_in(self, path: Path) -> bool:
        """Whether others still see it here: the file has not been removed or replaced."""
        return file_identity(path) == self._identity

    def is_alive(self, number: int | str) -> bool:
        """Whether the process with this number lives; none has a name that is no number."""
        if isinstance(number, str):
            if not number.isdecimal():
                return False
            number = int(number)
        if number == self.number:
            return True
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
        except OSError:
            return True
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, number)
        return False


_locks: dict[Path, ProcessLock] = {}
_choosing = new_lock()


def process_lock(path: Path) -> ProcessLock:
    """The lock of this process in this file.

    Raises:
        OSError: the file cannot be used.
    """
    with _choosing:  # under a second number this process would take its own first lock for that of a dead one
        lock = _locks.get(path)
        if lock is None or not lock.is_in(path):
            lock = _locks[path] = ProcessLock(path)
        return lock


def release_process_locks() -> None:
    """Give every lock of this process up: what it still has in work is taken for a dead one's."""
    with _choosing:
        while _locks:
            _locks.popitem()[1].release()


class LockHeldError(Exception):
    """Another process holds the lock; `holder` is how it calls itself."""

    def __init__(self, holder: str) -> None:
        self.holder = holder
        super().__init__(f"{holder} holds the lock")


@contextmanager
def exclusive(path: Path, *, holder: str) -> Iterator[None]:
    """Hold the whole file during the block, as one process of this machine at a time.

    Args:
        path: the file; made, with its folder.
        holder: how this process calls itself, for those who find it locked.

    Raises:
        LockHeldError: another process holds it.
        OSError: the file cannot be used.
    """
    make_private_folder(path.parent)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            found = os.pread(descriptor, _LONGEST_NAME, 0).decode(errors="replace").strip()
            raise LockHeldError(found or "another process") from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, holder.encode()[:_LONGEST_NAME], 0)
        yield
    finally:
        os.close(descriptor)


os.register_at_fork(after_in_child=_locks.clear)
