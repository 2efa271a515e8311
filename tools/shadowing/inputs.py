"""The files that a call reads, as they were before it read them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class Fingerprint(NamedTuple):
    """What tells a file from another one, and from itself after a change."""

    device: int
    inode: int
    size: int
    modified: int


@dataclass(frozen=True, slots=True)
class Inputs:
    """The paths as the call was given them, each with its file's fingerprint; None where that could not be taken."""

    files: tuple[tuple[str | os.PathLike[str], Fingerprint | None], ...]

    @classmethod
    def of(cls, paths: Sequence[str | os.PathLike[str]]) -> Inputs:
        """The files as they are now. Costs a stat each.

        Raises:
            TypeError: the paths can be gone through only once, which is for the call itself to do.
        """
        if isinstance(paths, Iterator):
            raise TypeError("an iterator of files cannot be gone through a second time")
        return cls(tuple((path, _fingerprint(path)) for path in paths))

    @property
    def paths(self) -> list[str | os.PathLike[str]]:
        """The paths alone."""
        return [path for path, _ in self.files]

    def size(self) -> int:
        """Bytes of the files, as they were before the call read them."""
        return sum(before.size for _, before in self.files if before is not None)

    def size_now(self) -> int:
        """Bytes of the files as they are; one that cannot be looked at is refused by both sides, so it counts for 0."""
        return sum(now.size for path in self.paths if (now := _fingerprint(path)) is not None)

    def stale(self) -> bool:
        """Whether a file is not what it was before the call read it."""
        return any(_fingerprint(path) != before for path, before in self.files)


def _fingerprint(path: str | os.PathLike[str]) -> Fingerprint | None:
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return None
    return Fingerprint(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
