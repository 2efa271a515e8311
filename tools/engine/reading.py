"""Reads files off the event loop, in pieces, as they were at one moment."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path

import aiofiles
from aiofiles.threadpool.binary import AsyncFileIO

from tools.engine.buffers import BUFFERS
from tools.engine.errors import FileChangedError, NotAFileError
from tools.engine.threads import run_in_thread, to_its_end
from tools.settings import MEGABYTE

SHORT_FILE_BYTES = 256 * 1024
"""Up to this size a file is read at once and held: switching to a thread costs more than reading."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fingerprint:
    """What changes when a file is replaced or written to, as far as the file system tells."""

    device: int
    inode: int
    size: int
    modified_ns: int

    @classmethod
    def of(cls, descriptor: int) -> _Fingerprint:
        status = os.fstat(descriptor)
        return cls(device=status.st_dev, inode=status.st_ino, size=status.st_size, modified_ns=status.st_mtime_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileContent:
    """A file as it was when it was opened.

    Attributes:
        path: where it is.
        name: its name, without directories.
        size: its length in bytes.
        held: all of it if it is short, else None.
    """

    path: Path
    name: str
    size: int
    held: bytes | None = field(repr=False)
    _fingerprint: _Fingerprint = field(repr=False)

    async def chunks(
        self, chunk_size: int = MEGABYTE, *, start: int = 0, length: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Its bytes from `start` on, `chunk_size` of them at a time, `length` (by default all) in all.

        Raises:
            FileChangedError: the file is not what it was; raised before the last piece is handed out.
            OSError: it can no longer be read.
        """
        left = self.size - start if length is None else length
        if self.held is not None:
            for place in range(start, start + left, chunk_size):
                yield self.held[place : min(place + chunk_size, start + left)]
            return
        async with _opened(self.path) as file:
            await run_in_thread(os.lseek, file.fileno(), start, os.SEEK_SET)
            while left:
                piece = await to_its_end(file.read(min(chunk_size, left)))
                left -= len(piece)
                if not piece or (left == 0 and not await run_in_thread(self.is_intact, file.fileno())):
                    raise FileChangedError(self.path)
                yield piece

    async def still_there(self) -> None:
        """Find out whether the file can still be opened, even if its bytes are held.

        Raises:
            OSError: it cannot; with the text that opening it gives.
        """
        await run_in_thread(lambda: self.path.open("rb", buffering=0).close())

    def is_intact(self, descriptor: int) -> bool:
        """Whether the file opened as `descriptor` is what this was made from. May block."""
        return _Fingerprint.of(descriptor) == self._fingerprint


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSource(FileContent):
    """A file as it was when it was opened, with its hash.

    A file that has only grown since is still handed out as it was: a reader that reads all at once sees no more either.

    Attributes:
        sha256: hash of its content, hexadecimal.
    """

    sha256: str

    def is_intact(self, descriptor: int) -> bool:
        """Whether the file opened as `descriptor` is what this was made from. May block."""
        now = _Fingerprint.of(descriptor)
        was = self._fingerprint
        if now == was:
            return True
        grew = (now.device, now.inode) == (was.device, was.inode) and now.size >= was.size
        return grew and _sha256(descriptor, self) == self.sha256


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
            OSError: it cannot be opened.
        """
        if self._file is None:
            self._file = FileIO(os.fspath(self._content.path))
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
        _fill(view[:wanted], descriptor, self.place, self._content.path)
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


async def open_content(path: Path) -> FileContent:
    """Look at a file, and read it if it is short.

    Raises:
        NotAFileError: it is no regular file.
        OSError: it cannot be read.
    """
    return await run_in_thread(_open_content, path)


async def open_source(path: Path) -> FileSource:
    """As `measure`, off the event loop."""
    return await run_in_thread(measure, path)


async def read_file(path: Path) -> bytes:
    """The whole content of a file.

    Raises:
        NotAFileError: it is no regular file.
        OSError: it cannot be read.
    """
    content = await open_content(path)
    if content.held is not None:
        return content.held
    async with _opened(path) as file:
        return await to_its_end(file.readall())


@asynccontextmanager
async def _opened(path: Path) -> AsyncGenerator[AsyncFileIO, None]:
    """Open a file for reading without a buffer; a cancellation meanwhile does not lose the handle."""
    file = await to_its_end(aiofiles.open(path, "rb", buffering=0), unwanted=AsyncFileIO.close)
    try:
        yield file
    finally:
        await to_its_end(file.close())


def measure(path: Path) -> FileSource:
    """Look at a file and hash it, in one pass; keep its bytes if it is short. Blocks.

    Raises:
        NotAFileError: it is no regular file.
        FileChangedError: it shrank meanwhile.
        OSError: it cannot be read.
    """
    with _opened_now(path) as file:
        content = _look_at(path, file)
        digest = _sha256(file.fileno(), content) if content.held is None else hashlib.sha256(content.held).hexdigest()
    return FileSource(
        path=content.path,
        name=content.name,
        size=content.size,
        held=content.held,
        _fingerprint=content._fingerprint,  # noqa: SLF001  # its own subclass
        sha256=digest,
    )


def _open_content(path: Path) -> FileContent:
    with _opened_now(path) as file:
        return _look_at(path, file)


def _opened_now(path: Path) -> FileIO:
    if not stat.S_ISREG(path.stat().st_mode):  # before opening: opening a pipe waits for its writer
        raise NotAFileError(path)
    return FileIO(os.fspath(path))


def _look_at(path: Path, file: FileIO) -> FileContent:
    fingerprint = _Fingerprint.of(file.fileno())
    held = file.read(SHORT_FILE_BYTES + 1) if fingerprint.size <= SHORT_FILE_BYTES else None
    if held is not None and len(held) > SHORT_FILE_BYTES:  # it is growing past the limit
        held = held[: fingerprint.size]
    size = fingerprint.size if held is None else len(held)
    return FileContent(path=path, name=path.name, size=size, held=held, _fingerprint=fingerprint)


def _sha256(descriptor: int, content: FileContent) -> str:
    """Hash of the first `content.size` bytes."""
    digest = hashlib.sha256()
    with BUFFERS.lend() as buffer:
        for place in range(0, content.size, len(buffer)):
            piece = buffer[: content.size - place]
            _fill(piece, descriptor, place, content.path)
            digest.update(piece)
    return digest.hexdigest()


def _fill(view: memoryview, descriptor: int, place: int, path: Path) -> None:
    """Read exactly as many bytes as `view` holds."""
    done = 0
    while done < len(view):
        count = os.preadv(descriptor, [view[done:]], place + done)
        if not count:
            raise FileChangedError(path)
        done += count
