"""The files that are uploaded, made on first use and kept. Random bytes, so that they cannot be compressed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

MB = 1_000_000

TINY_BYTES = 4000
"""Size of the file that warms up."""

_PIECE = 8 * MB


class Content(Enum):
    """What several files have in common."""

    OWN = auto()
    """Nothing."""
    SHARED = auto()
    """They are names of one file, so that a crowd of large ones fits on the disk and in the system's cache."""
    HOLE = auto()
    """As `SHARED`, and the file has zeros only and takes no room on the disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Files of one size.

    Attributes:
        folder: where all files of the benchmark are.
        size: bytes of each.
        count: how many.
        content: what they have in common.
    """

    folder: Path
    size: int
    count: int = 1
    content: Content = Content.OWN

    @property
    def paths(self) -> list[Path]:
        """Where they are, once they are made."""
        group = self.folder / f"{self.content.name.lower()}-{self.size}"
        return [group / f"{number}.bin" for number in range(self.count)]

    @property
    def tiny(self) -> Path:
        """Where the file is that warms up."""
        return self.folder / "tiny.bin"

    def make(self) -> None:
        """Make those that are missing, and bring all into the system's cache, so that no disk is measured."""
        _write_random(self.tiny, TINY_BYTES)
        first, *others = self.paths
        for path in self.paths if self.content is Content.OWN else [first]:
            (_write_hole if self.content is Content.HOLE else _write_random)(path, self.size)
            _read(path)
        if self.content is not Content.OWN:
            for path in others:
                if not path.exists():
                    path.hardlink_to(first)


def _write_random(path: Path, size: int) -> None:
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    with unfinished.open("wb") as file:
        for start in range(0, size, _PIECE):
            file.write(os.urandom(min(_PIECE, size - start)))
    unfinished.replace(path)


def _write_hole(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.truncate(size)


def _read(path: Path) -> None:
    buffer = bytearray(_PIECE)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass
