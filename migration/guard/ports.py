"""What the guard asks of the outside: somebody who can change flags, and somebody who knows the memory in use."""

from __future__ import annotations

from typing import Protocol


class Switch(Protocol):
    """Changes the flags of a migration for every process everywhere. May block; may raise anything."""

    def turn_off(self, migration: str, *, because: str) -> str | None:
        """Let legacy serve every call, and return the fingerprint of the flag as it is then, if it has one."""
        ...

    def compare_more(self, migration: str, *, percent: int, because: str) -> None:
        """Let at least `percent` of the calls be compared."""
        ...


class MemoryGauge(Protocol):
    """Knows this process's memory."""

    def used(self) -> int:
        """Resident bytes."""
        ...

    def limit(self) -> int:
        """Bytes that the process may have: of its control group or of the machine."""
        ...
