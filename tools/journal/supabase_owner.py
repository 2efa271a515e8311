"""Who this process is among the processes of all machines, and which of them are known to be dead."""

from __future__ import annotations

import hashlib
import secrets
import socket
from pathlib import Path

from tools.journal.owners import Owner, owner_of

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class FleetOwner:
    """This process, in the eyes of all machines.

    Of the processes of its own machine it knows which are dead, by the lock that each of them holds in one file. Of the
    others only their leases tell.

    Args:
        path: the file of the locks. When it cannot be used, nobody is known to be dead.
    """

    def __init__(self, path: Path) -> None:
        self._owner: Owner | None = None
        self._machine = secrets.token_hex(6)
        place = "0"
        try:
            self._owner = owner_of(path)
            self._machine = _machine(path) or self._machine
            place = self._owner.name
        except OSError:
            pass  # leases do without it, and SQLite's journal says what is wrong with the folder
        self.name = f"{socket.gethostname()}/{self._machine}/{place}"

    def is_dead(self, name: str) -> bool:
        """Whether this owner is a process of this machine, and has died."""
        _, machine, place = ("", *name.rsplit("/", 2))[-3:]
        return self._owner is not None and machine == self._machine and not self._owner.is_alive(place)


def _machine(path: Path) -> str | None:
    """What processes share that see the same locks: a kernel since its start, and the file. None: not known."""
    try:
        boot_id, file = _BOOT_ID.read_text().strip(), path.stat()
    except OSError:
        return None
    return hashlib.sha256(f"{boot_id} {file.st_dev} {file.st_ino}".encode()).hexdigest()[:12]
