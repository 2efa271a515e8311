"""The marked private copies that the other side uploads instead of the caller's files."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from migration.model import TrialRefusedError

PREFIX = "shadow-"
"""What every name that a live shadow makes begins with."""

_UNIT = re.compile(r"[A-Za-z0-9]{1,64}")
_PIECE_BYTES = 256 * 1024
_NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})

StrPath = str | os.PathLike[str]


def mark_of(unit: str) -> str:
    """What the names of everything begin with that is made for this unit of work: `shadow-UNIT-`."""
    if not _UNIT.fullmatch(unit):
        unit = hashlib.sha256(unit.encode(errors="surrogatepass")).hexdigest()[:32]
    return f"{PREFIX}{unit}-"


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkedFile:
    """A file of the call, and its copy.

    Attributes:
        given: the path as the caller gave it.
        path: the path of the copy.
        name: the file's name, without the mark.
        sha256: hash of the content; None if there is no file, or something that is no file.
    """

    given: StrPath
    path: Path
    name: str
    sha256: str | None

    def instead(self) -> StrPath:
        """The copy's path, of the type that the caller gave."""
        return str(self.path) if isinstance(self.given, str) else self.path


class Marked:
    """The copies for one trial, each in a folder of its own: two files of a call may have the same name."""

    def __init__(self, mark: str, folder: Path, files: Sequence[MarkedFile]) -> None:
        self.mark = mark
        self.files = tuple(files)
        self._folder = folder

    @property
    def contents(self) -> dict[str, set[str]]:
        """The hashes of what is uploaded, by name without mark."""
        found: dict[str, set[str]] = {}
        for file in self.files:
            if file.sha256 is not None:
                found.setdefault(file.name, set()).add(file.sha256)
        return found

    def plain(self, text: str) -> str:
        """A text about the copies as it would be about the caller's files."""
        for file in self.files:
            text = text.replace(str(file.path), str(file.given))
        return text.replace(self.mark, "")

    def plainly(self, value: object) -> object:
        """Plain data likewise, all the way down."""
        if isinstance(value, str):
            return self.plain(value)
        if isinstance(value, Mapping):
            return {name: self.plainly(inner) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.plainly(inner) for inner in value]
        return value


def make_copies(mark: str, folder: Path, files: Sequence[StrPath]) -> Marked:
    """Copy the files of a call to `folder`, which is this user's alone. What cannot be uploaded is imitated. Blocks.

    Raises:
        TrialRefusedError: a file cannot be copied, or not under a marked name.
    """
    made = []
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.mkdir(mode=0o700)
    for number, given in enumerate(files):
        own = folder / str(number)
        try:
            own.mkdir(mode=0o700)
            made.append(_copied(mark, own, given))
        except OSError as error:
            raise TrialRefusedError(f"a file cannot be copied under a marked name: {error.strerror}") from error
    return Marked(mark, folder, made)


def remove_copies(folder: Path) -> None:
    """Remove the copies of a trial, if there are any. Blocks.

    Raises:
        OSError: they cannot be removed.
    """
    if folder.exists():
        shutil.rmtree(folder)


def _copied(mark: str, folder: Path, given: StrPath) -> MarkedFile:
    path = Path(given)
    copy = folder / f"{mark}{path.name}"
    try:
        kind = path.stat().st_mode
    except OSError as error:
        if error.errno not in _NOT_THERE:
            raise
        return MarkedFile(given=given, path=copy, name=path.name, sha256=None)
    if stat.S_ISDIR(kind):
        copy.mkdir()
        return MarkedFile(given=given, path=copy, name=path.name, sha256=None)
    if not stat.S_ISREG(kind):
        raise TrialRefusedError("what is no regular file cannot be copied")
    return MarkedFile(given=given, path=copy, name=path.name, sha256=_copy(path, copy))


def _copy(source: Path, target: Path) -> str:
    """Copy a file and return the hash of what was copied."""
    hasher = hashlib.sha256()
    with (
        source.open("rb") as reading,
        os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as writing,
    ):
        while piece := reading.read(_PIECE_BYTES):
            hasher.update(piece)
            writing.write(piece)
    return hasher.hexdigest()
