"""What a file must be before anything is sent. Both implementations ask here, so their refusals read the same."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path

_NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})


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

    Nothing is opened, so a pipe or a device does not block. Whoever opens it then looks again (`opening`), because the
    path may lead elsewhere by that time.

    Raises:
        ValueError: it does not exist, is no regular file, or is too large.
        OSError: the system does not let us look (a folder on the way is not searchable).
    """
    path = Path(file_path)
    try:
        status = path.stat()
    except OSError as error:
        if error.errno not in _NOT_THERE:
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
