"""Reads files off the event loop, in pieces, as they were at one moment.

It reads into anonymous mappings, which begin at the start of a page. Reading into a `bytearray`, which does not, is
about four times slower on some processors. They are private: a forked child would else read into its parent's memory.

A file may be opened several times: for a copy, an upload, a retry. Each time it must be the file that was looked at
first, before a byte of it is read. That it is unchanged is found out before its last bytes are handed out.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import stat
from collections.abc import AsyncGenerator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path

from shim.primitives import new_lock, renew_in_child
from tools.files import FileState, NotRegularFileError, open_regular, too_large
from tools.settings import MEGABYTE
from tools.transport.errors import FileChangedError, NotAFileError
from tools.transport.loops import run_in_thread

BUFFER_BYTES = MEGABYTE
"""Size of a buffer: switching to a thread for each piece costs about as much as reading 1 MB."""

CROWDED_BUFFER_BYTES = 384 * 1024
"""Size of a buffer while many are in use."""

LARGE_BUFFERS = 16
"""How many buffers in use at once have the full size."""

IDLE_BUFFERS = 4
"""How many buffers of each size are kept for the next reader."""


class Buffers:
    """Lends buffers, from any thread."""

    def __init__(self) -> None:
        self._lock = new_lock()
        self.begin_in_child()
        renew_in_child(self)

    def begin_in_child(self) -> None:
        """Begin with none: those that are lent are in the hands of the parent's threads."""
        self._lent = 0
        self._idle: dict[int, list[mmap.mmap]] = {BUFFER_BYTES: [], CROWDED_BUFFER_BYTES: []}

    @contextmanager
    def lend(self) -> Iterator[memoryview]:
        """A buffer with whatever it held before.

        No reference to it may be kept afterwards. When the borrower fails it is not lent again: a broken connection may
        still refer to it.
        """
        buffer, idle = self._take()
        try:
            yield memoryview(buffer)
        except BaseException:
            self._lent_less()
            raise
        with self._lock:
            self._lent -= 1
            if len(idle) < IDLE_BUFFERS:
                idle.append(buffer)

    def _take(self) -> tuple[mmap.mmap, list[mmap.mmap]]:
        with self._lock:
            self._lent += 1
            size = BUFFER_BYTES if self._lent <= LARGE_BUFFERS else CROWDED_BUFFER_BYTES
            idle = self._idle[size]
            if idle:
                return idle.pop(), idle
        return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), idle

    def _lent_less(self) -> None:
        with self._lock:
            self._lent -= 1


BUFFERS = Buffers()
"""Those of the process."""


SHORT_FILE_BYTES = 256 * 1024
"""Up to this size a file is read at once and held: switching to a thread costs more than reading."""


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
    _state: FileState = field(repr=False)

    async def chunks(
        self, chunk_size: int = MEGABYTE, *, start: int = 0, length: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Its bytes from `start` on, `chunk_size` of them at a time, `length` (by default all) in all.

        Raises:
            FileChangedError: it is another file, or not what it was; raised before the last piece is handed out.
            OSError: it can no longer be read.
        """
        left = self.size - start if length is None else length
        if self.held is not None:
            for place in range(start, start + left, chunk_size):
                yield self.held[place : min(place + chunk_size, start + left)]
            return
        with closing(RangeReader(self, start=start, length=left)) as reader:
            while reader.left:
                piece = bytearray(min(chunk_size, reader.left))
                await run_in_thread(reader.read_into, memoryview(piece))
                yield bytes(piece)

    async def still_there(self) -> None:
        """Find out whether the file can still be opened, even if its bytes are held.

        Raises:
            OSError: it cannot; with the text that opening it gives.
        """
        await run_in_thread(lambda: FileIO(os.fspath(self.path), opener=open_regular).close())

    async def whole(self) -> bytes:
        """All its bytes at once.

        Raises:
            FileChangedError: it is another file, or not what it was.
            OSError: it can no longer be read.
        """
        return await run_in_thread(self._read_whole) if self.held is None else self.held

    def open_same(self, path: str, flags: int) -> int:
        """Open the file again; an `opener`.

        Raises:
            FileChangedError: the path leads to another file. Nothing was read.
            OSError: it cannot be opened.
        """
        try:
            descriptor = open_regular(path, flags)
        except NotRegularFileError as error:
            raise FileChangedError(self.path) from error
        if _state_of(descriptor).identity != self._state.identity:
            os.close(descriptor)
            raise FileChangedError(self.path)
        return descriptor

    def is_intact(self, descriptor: int) -> bool:
        """Whether the file opened as `descriptor` is what this was made from. May block."""
        return self._state.is_unchanged(_state_of(descriptor))

    def _read_whole(self) -> bytes:
        with FileIO(os.fspath(self.path), opener=self.open_same) as file:
            content = file.read(self.size)
            if len(content) < self.size or not self.is_intact(file.fileno()):
                raise FileChangedError(self.path)
        return content


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
        now, was = _state_of(descriptor), self._state
        if now == was:
            return True
        grew = now.identity == was.identity and now.size >= was.size
        return grew and _sha256(descriptor, self) == self.sha256


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


def measure(path: Path, *, limit: int | None = None) -> FileSource:
    """Look at a file and hash it, in one pass; keep its bytes if it is short. Blocks.

    Raises:
        NotAFileError: it is no regular file.
        ValueError: it has more than `limit` bytes.
        FileChangedError: it shrank meanwhile.
        OSError: it cannot be read.
    """
    with _opened_now(path) as file:
        content = _look_at(path, file)
        if limit is not None and content.size > limit:
            raise too_large(path, size=content.size, limit=limit)
        digest = _sha256(file.fileno(), content) if content.held is None else hashlib.sha256(content.held).hexdigest()
    return FileSource(
        path=content.path,
        name=content.name,
        size=content.size,
        held=content.held,
        _state=content._state,  # noqa: SLF001  # its own subclass
        sha256=digest,
    )


def _open_content(path: Path) -> FileContent:
    with _opened_now(path) as file:
        return _look_at(path, file)


def _opened_now(path: Path) -> FileIO:
    if not stat.S_ISREG(path.stat().st_mode):  # before opening, which alone may do something to a device
        raise NotAFileError(path)
    try:
        return FileIO(os.fspath(path), opener=open_regular)
    except NotRegularFileError as error:
        raise NotAFileError(path) from error


def _look_at(path: Path, file: FileIO) -> FileContent:
    state = _state_of(file.fileno())
    held = file.read(SHORT_FILE_BYTES + 1) if state.size <= SHORT_FILE_BYTES else None
    if held is not None and len(held) > SHORT_FILE_BYTES:  # it is growing past the limit
        held = held[: state.size]
    size = state.size if held is None else len(held)
    return FileContent(path=path, name=path.name, size=size, held=held, _state=state)


def _state_of(descriptor: int) -> FileState:
    return FileState.of(os.fstat(descriptor))


def _sha256(descriptor: int, content: FileContent) -> str:
    """Hash of the first `content.size` bytes."""
    digest = hashlib.sha256()
    with BUFFERS.lend() as buffer:
        for place in range(0, content.size, len(buffer)):
            piece = buffer[: content.size - place]
            fill(piece, descriptor, place, content.path)
            digest.update(piece)
    return digest.hexdigest()


def fill(view: memoryview, descriptor: int, place: int, path: Path) -> None:
    """Read exactly as many bytes as `view` holds, from `place` on.

    Raises:
        FileChangedError: the file ends before.
        OSError: it cannot be read.
    """
    done = 0
    while done < len(view):
        count = os.preadv(descriptor, [view[done:]], place + done)
        if not count:
            raise FileChangedError(path)
        done += count


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
