"""Reads files off the event loop, in pieces, as they were at one moment."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import aiofiles
from aiofiles.threadpool.binary import AsyncFileIO

from tools.engine.errors import FileChangedError, NotAFileError
from tools.engine.threads import run_in_thread, to_its_end
from tools.settings import MEGABYTE, get_settings

SHORT_FILE_BYTES = 256 * 1024
"""Up to this size a file is read at once and held: switching to a thread costs more than reading."""

_HASHED_AT_ONCE = MEGABYTE


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fingerprint:
    """What changes when a file is replaced or written to, as far as the file system tells."""

    device: int
    inode: int
    size: int
    modified_ns: int

    @classmethod
    def of(cls, file: BinaryIO | int) -> _Fingerprint:
        status = os.fstat(file if isinstance(file, int) else file.fileno())
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

    async def chunks(self, chunk_size: int | None = None) -> AsyncGenerator[bytes, None]:
        """Its bytes, `chunk_size` (default: as configured) of them at a time, `size` in all.

        Raises:
            FileChangedError: the file is not what it was; raised before the last piece is handed out.
            OSError: it can no longer be read.
        """
        chunk_size = chunk_size or get_settings().upload_chunk_bytes
        if self.held is not None:
            for start in range(0, self.size, chunk_size):
                yield self.held[start : start + chunk_size]
            return
        left = self.size
        async with _opened(self.path) as file:
            while left:
                piece = await to_its_end(file.read(min(chunk_size, left)))
                left -= len(piece)
                if not piece or (left == 0 and not await run_in_thread(self._is_intact, file.fileno())):
                    raise FileChangedError(self.path)
                yield piece

    async def still_there(self) -> None:
        """Find out whether the file can still be opened, even if its bytes are held.

        Raises:
            OSError: it cannot; with the text that opening it gives.
        """
        await run_in_thread(lambda: self.path.open("rb", buffering=0).close())

    def _is_intact(self, descriptor: int) -> bool:
        return _Fingerprint.of(descriptor) == self._fingerprint


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSource(FileContent):
    """A file as it was when it was opened, with its hash.

    A file that has only grown since is still handed out as it was: a reader that reads all at once sees no more either.

    Attributes:
        sha256: hash of its content, hexadecimal.
    """

    sha256: str

    def _is_intact(self, descriptor: int) -> bool:
        now = _Fingerprint.of(descriptor)
        was = self._fingerprint
        if now == was:
            return True
        grew = (now.device, now.inode) == (was.device, was.inode) and now.size >= was.size
        return grew and _sha256(self.path, self.size) == self.sha256


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


def _open_content(path: Path) -> FileContent:
    if not stat.S_ISREG(path.stat().st_mode):  # before opening: opening a pipe waits for its writer
        raise NotAFileError(path)
    with path.open("rb", buffering=0) as file:
        fingerprint = _Fingerprint.of(file.fileno())
        held = file.read(SHORT_FILE_BYTES + 1) if fingerprint.size <= SHORT_FILE_BYTES else None
        if held is not None and len(held) > SHORT_FILE_BYTES:  # it is growing past the limit
            held = held[: fingerprint.size]
        size = fingerprint.size if held is None else len(held)
        return FileContent(path=path, name=path.name, size=size, held=held, _fingerprint=fingerprint)


def measure(path: Path) -> FileSource:
    """Look at a file and hash it, in one pass; keep its bytes if it is short. Blocks.

    Raises:
        NotAFileError: it is no regular file.
        FileChangedError: it shrank meanwhile.
        OSError: it cannot be read.
    """
    content = _open_content(path)
    digest = _sha256(path, content.size) if content.held is None else hashlib.sha256(content.held).hexdigest()
    return FileSource(
        path=content.path,
        name=content.name,
        size=content.size,
        held=content.held,
        _fingerprint=content._fingerprint,  # noqa: SLF001  # its own subclass
        sha256=digest,
    )


def _sha256(path: Path, size: int) -> str:
    """Hash of the first `size` bytes."""
    digest = hashlib.sha256()
    buffer = bytearray(_HASHED_AT_ONCE)
    view = memoryview(buffer)
    left = size
    with path.open("rb", buffering=0) as file:
        while left:
            count = file.readinto(view[: min(left, len(view))])
            if not count:
                raise FileChangedError(path)
            digest.update(view[:count])
            left -= count
    return digest.hexdigest()
