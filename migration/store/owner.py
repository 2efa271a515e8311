"""Tells whether the process that began something still lives."""

from __future__ import annotations

import fcntl
import os
import secrets
from pathlib import Path


class Owner:
    """One process, as others can tell whether it lives: it holds a lock on one byte of a file, which dies with it.

    The lock is of the kind that a process has (POSIX, `fcntl`): a child after a fork does not have it.
    """

    def __init__(self, path: Path) -> None:
        self.number = secrets.randbelow(2**40)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)  # never closed: that would give up every lock on it
        fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, self.number)

    def is_alive(self, number: int) -> bool:
        """Whether the process with this number lives."""
        if number == self.number:
            return True
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
        except OSError:
            return True
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, number)
        return False


_owners: dict[Path, Owner] = {}


def owner_of(path: Path) -> Owner:
    """This process, as it holds its lock in this file."""
    if path not in _owners:
        _owners.setdefault(path, Owner(path))
    return _owners[path]


os.register_at_fork(after_in_child=_owners.clear)
