"""Tells whether the process that began an upload still lives: it holds a lock that dies with it."""

from __future__ import annotations

import fcntl
import os
import secrets
import threading
from pathlib import Path

from shim.process import make_private_folder

_PRIVATE_FILE = 0o600


class Owner:
    """This process, in the eyes of the others that use the same file.

    It holds a lock on one byte, at a random place. Locks of this kind (POSIX, `fcntl`) belong to the process: the
    kernel gives them up when it ends in whatever way, and a forked child does not have them. A process number would
    not do: it is given anew, and means nothing in another container.

    Raises:
        OSError: the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        make_private_folder(path.parent)
        self._place = secrets.randbelow(2**40)
        # never closed while the process lives: closing any descriptor of the file would give up every lock on it
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE_FILE)
        self._identity = _identity(path)
        fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, self._place)

    @property
    def name(self) -> str:
        """How the journal calls it."""
        return str(self._place)

    def release(self) -> None:
        """Give the lock up, with every other one of this process in the file."""
        os.close(self._file)

    def is_in(self, path: Path) -> bool:
        """Whether others still see it here: the file has not been removed or replaced."""
        return _identity(path) == self._identity

    def is_alive(self, name: str) -> bool:
        """Whether the process that the journal calls so lives; who has a name of another kind is taken for dead."""
        if name == self.name:
            return True
        if not name.isdecimal():
            return False
        place = int(name)
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
        except OSError:
            return True
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, place)
        return False


_owners: dict[Path, Owner] = {}
_lock = threading.Lock()


def owner_of(path: Path) -> Owner:
    """This process, as it holds its lock in this file.

    Raises:
        OSError: the file cannot be used.
    """
    with _lock:  # under a second name this process would take the lock of the first one for nobody's
        owner = _owners.get(path)
        if owner is None or not owner.is_in(path):
            owner = _owners[path] = Owner(path)
        return owner


def release_owners() -> None:
    """Give every lock of this process up: what it still has under way is taken for dead."""
    with _lock:
        while _owners:
            _, owner = _owners.popitem()
            owner.release()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _begin_anew() -> None:
    global _lock  # noqa: PLW0603  # a thread that the fork did not take along may have held it
    _lock = threading.Lock()
    _owners.clear()


os.register_at_fork(after_in_child=_begin_anew)
