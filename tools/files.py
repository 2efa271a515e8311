"""Opens files so that what was checked is what is read.

A path is a name: between two looks it may come to lead elsewhere. So a file is looked at once more when it is open, and
code that has checked a file can have later openings of the same path get that very file, or none.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import NamedTuple

from tools.errors import ToolsError

NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})
"""What looking at a path may fail with when nothing is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidatedFile:
    """A regular file within the limit, as it was when it was looked at.

    Attributes:
        path: where it is, as the caller gave it.
        name: its name without the folder; this is what providers and storage get to see.
        size: bytes.
    """

    path: Path
    name: str
    size: int


def validate_upload(file_path: str | os.PathLike[str], *, limit: int) -> ValidatedFile:
    """Check that `file_path` is a regular file of at most `limit` bytes; symbolic links are followed.

    Nothing is opened, so a pipe or a device does not block. The code that opens it looks again, because the
    path may lead elsewhere by that time.

    Raises:
        ValueError: it does not exist, is no regular file, or is too large.
        OSError: the system does not let us look (a folder on the way is not searchable).
    """
    path = Path(file_path)
    try:
        status = path.stat()
    except OSError as error:
        if error.errno not in NOT_THERE:
            raise
        raise ValueError(f"File not found: {path}") from error
    if stat.S_ISDIR(status.st_mode):
        raise ValueError(f"Path is a directory, not a file: {path}")
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"Not a regular file: {path}")
    if status.st_size > limit:
        raise too_large(path, size=status.st_size, limit=limit)
    return ValidatedFile(path=path, name=path.name, size=status.st_size)


def too_large(path: Path, *, size: int, limit: int) -> ValueError:
    """The error for a file of `size` bytes where `limit` bytes are allowed."""
    return ValueError(f"File too large: {path} has {size} bytes, the limit is {limit} bytes")


# Opens files so that what was checked is what is read.

_NEVER_WAIT = os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""Opening a pipe would wait for its writer, and opening a terminal would take it over."""

_FOLDER = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)
"""Only to look up names in it; on Linux this needs no right to list them."""

_LED_ELSEWHERE = frozenset({errno.ELOOP, errno.ENOTDIR})


class NotRegularFileError(ToolsError, ValueError):
    """What a path leads to is open, and is no regular file."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(f"Not a regular file: {os.fspath(path)}")


class FileReplacedError(ToolsError, ValueError):
    """A path leads to another file than the one that was checked. Nothing of it was read."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(
            f"{os.fspath(path)} leads to another file than before; ask again when it is no longer being changed"
        )


class FileState(NamedTuple):
    """What tells a file from another one, and from itself after a change, as far as the file system tells.

    A writer may set `modified_ns` back, but not `changed_ns`. That one also moves when nothing is written (new rights,
    another name), so it is a reason to look, not a proof.
    """

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> FileState:
        """The state of a file that was looked at."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    @property
    def identity(self) -> tuple[int, int]:
        """Which file it is, whatever its name. Numbers are used again: it holds for as long as the file exists."""
        return self.device, self.inode

    def is_unchanged(self, now: FileState) -> bool:
        """Whether it is the same file, and seems not to have been written to since."""
        return self[:4] == now[:4]


_checked: ContextVar[tuple[str, tuple[int, int]] | None] = ContextVar("checked_file", default=None)


@contextmanager
def only_this_file(path: Path, file: FileIO) -> Iterator[None]:
    """Let all code in this context that opens `path` get what `file` has open, or a `FileReplacedError`.

    `file` must stay open meanwhile: as long as it is, no other file can have its identity.
    """
    token = _checked.set((os.fspath(path), FileState.of(os.fstat(file.fileno())).identity))
    try:
        yield
    finally:
        _checked.reset(token)


def open_regular(path: str, flags: int = os.O_RDONLY) -> int:
    """Open a regular file without ever waiting; links are followed. This is an `opener` for `open` and `FileIO`.

    Returns:
        The descriptor, which is the caller's to close.

    Raises:
        NotRegularFileError: it is something else.
        FileReplacedError: another file was checked in this context (see `only_this_file`).
        OSError: it cannot be opened.
    """
    descriptor = os.open(path, flags | _NEVER_WAIT)
    try:
        _check(path, descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_regular(path: Path, *, limit: int | None = None) -> bytes:
    """The whole content of a regular file.

    Raises:
        ValueError: it has more than `limit` bytes.
        NotRegularFileError, FileReplacedError, OSError: as `open_regular`.
    """
    with FileIO(os.fspath(path), opener=open_regular) as file:
        size = os.fstat(file.fileno()).st_size
        if limit is not None and size > limit:
            raise too_large(path, size=size, limit=limit)
        return file.readall()


def open_beneath(root: Path, path: Path) -> FileIO:
    """Open `path`, which lies below the folder `root` and has no links below it; none are followed there.

    So writing below `root` cannot cause a file elsewhere to be opened.

    Raises:
        NotRegularFileError: it is no regular file.
        FileReplacedError: there is a link on the way.
        OSError: it cannot be opened; it names `path`.
    """
    try:
        return FileIO(_descriptor_beneath(root, path.relative_to(root).parts or (".",)))
    except OSError as error:
        if error.errno in _LED_ELSEWHERE:
            raise FileReplacedError(path) from error
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error
    except NotRegularFileError:
        raise NotRegularFileError(path) from None


def _descriptor_beneath(root: Path, parts: tuple[str, ...]) -> int:
    """Go down from `root`, one name at a time."""
    *folders, name = parts
    folder = os.open(root, _FOLDER & ~os.O_NOFOLLOW)
    try:
        for part in folders:
            inner = os.open(part, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = inner
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | _NEVER_WAIT, dir_fd=folder)
    finally:
        os.close(folder)
    try:
        _check(name, descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check(path: str, descriptor: int) -> None:
    status, checked = os.fstat(descriptor), _checked.get()
    if not stat.S_ISREG(status.st_mode):
        raise NotRegularFileError(path)
    if checked is not None and checked[0] == path and checked[1] != FileState.of(status).identity:
        raise FileReplacedError(path)
