"""One controller a migration on a machine: a lock that the operating system takes back when its holder dies."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from migration.model.errors import RolloutError

_LONGEST_NAME = 200


@contextmanager
def only_controller(folder: Path, migration: str, *, who: str) -> Iterator[None]:
    """Be the only controller of this migration on this machine, until the end of the block.

    Args:
        folder: where the processes of the machine keep their state; made if it is missing.
        migration: what is rolled out.
        who: the person, for those who find it locked.

    Raises:
        RolloutError: another process is; the message says which.
        OSError: the folder cannot be written.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder / f"rollout-{migration}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, _LONGEST_NAME, 0).decode(errors="replace").strip() or "another process"
            raise RolloutError(f"{migration} is being rolled out by {holder} already; nothing was changed") from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} of {who} on {socket.gethostname()}".encode()[:_LONGEST_NAME], 0)
        yield
    finally:
        os.close(descriptor)
