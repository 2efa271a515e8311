"""Reads a range of a file into memory that is lent."""

from __future__ import annotations

import os
from io import FileIO

from tools.engine.errors import FileChangedError
from tools.engine.reading import FileContent, fill


class RangeReader:
    """Reads bytes of a file piece by piece, into memory that it is given. Blocks, so it belongs into a thread.

    It opens the file for the first piece; before it hands out the last one it makes sure that the file is what it was.

    Attributes:
        place: offset of the next byte.
        left: how many bytes are still to be read.
    """

    def __init__(self, content: FileContent, *, start: int, length: int) -> None:
        self.place = start
        self.left = length
        self._content = content
        self._file: FileIO | None = None

    def open(self) -> int:
        """Open the file unless it is open, and return its descriptor, which stays this reader's.

        Raises:
            FileChangedError: it is another file.
            OSError: it cannot be opened.
        """
        if self._file is None:
            self._file = FileIO(os.fspath(self._content.path), opener=self._content.open_same)
        return self._file.fileno()

    def read_into(self, view: memoryview) -> int:
        """Fill `view`, or as much of it as there are bytes left.

        Returns:
            How many bytes were read.

        Raises:
            FileChangedError: the file is not what it was.
            OSError: it cannot be read.
        """
        descriptor = self.open()
        wanted = min(len(view), self.left)
        fill(view[:wanted], descriptor, self.place, self._content.path)
        self.skip(wanted)
        if not self.left:
            if not self._content.is_intact(descriptor):
                raise FileChangedError(self._content.path)
            self.close()
        return wanted

    def skip(self, count: int) -> None:
        """Leave out bytes that went another way."""
        self.place += count
        self.left -= count

    def close(self) -> None:
        """Close the file, if it is open."""
        if self._file is not None:
            self._file.close()
            self._file = None
