"""The marked private copies that the shadow uploads instead of the caller's files.

Rows are written with the status `pending`, so that no caller's look-up for known contents ever finds a shadow's file.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from migration.model import TrialRefusedError
from shim.http.egress import EgressGate
from tools.files import NOT_THERE
from tools.storage.port import ProviderName, StorageError, UploadRow, UploadStatus

if TYPE_CHECKING:
    from tools.transport.reading import FileSource

_PIECE_BYTES = 256 * 1024

StrPath = str | os.PathLike[str]


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
        if error.errno not in NOT_THERE:
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


# The storage that a trial gets to see: the real one, in which it can store marked things only.

SHADOW_STATUS: UploadStatus = "pending"
"""The status of a shadow's row: look-ups for known contents see `completed` ones only."""


class NotTheTrialsError(StorageError):
    """The shadow wants to store something that is not marked as its own, or stores when its time is over."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"refused, because {problem}")


class TrialStorage:
    """Implements `UploadStorage` for one trial.

    Args:
        storage: the real one.
        beginning: what paths of objects must begin with: folder and mark.
        gate: shut when the trial is over.
        known: the hashes that the primary uploaded; it was told that they were not known before.
        made: the provider's ids of the files that the trial has made so far.
    """

    def __init__(
        self,
        storage: Any,
        *,
        beginning: str,
        gate: EgressGate,
        known: Collection[str],
        made: Callable[[], Collection[str]],
    ) -> None:
        self._storage = storage
        self._beginning = beginning
        self._gate = gate
        self._known = frozenset(known)
        self._made = made
        self.asked: dict[str, UploadRow] = {}

    def upload_file(
        self, file_path: str, file_data: bytes, original_name: str, mime_type: str | None, file_type: str
    ) -> str:
        """Store a marked object."""
        self._check_path(file_path)
        return str(self._storage.upload_file(file_path, file_data, original_name, mime_type, file_type))

    async def upload_file_streaming(
        self, file_path: str, source: FileSource, original_name: str, mime_type: str | None, file_type: str
    ) -> str:
        """Store a marked object."""
        self._check_path(file_path)
        stored = await self._storage.upload_file_streaming(file_path, source, original_name, mime_type, file_type)
        return str(stored)

    def record_upload(self, row: UploadRow) -> None:
        """Write the row of a file that the trial made."""
        self._storage.record_upload(self._marked(row))

    async def record_upload_async(self, row: UploadRow) -> None:
        """Write the row of a file that the trial made."""
        await self._storage.record_upload_async(await asyncio.to_thread(self._marked, row))

    def find_upload(self, *, sha256: str, provider: ProviderName) -> UploadRow | None:
        """What the primary was told, or what the trial has recorded itself since."""
        own = self._own(sha256, provider)
        if own is not None or sha256 in self._known:
            return own
        found: UploadRow | None = self._storage.find_upload(sha256=sha256, provider=provider)
        return found

    async def find_upload_async(self, *, sha256: str, provider: ProviderName) -> UploadRow | None:
        """As `find_upload`."""
        own = self._own(sha256, provider)
        if own is not None or sha256 in self._known:
            return own
        found: UploadRow | None = await self._storage.find_upload_async(sha256=sha256, provider=provider)
        return found

    def _own(self, sha256: str, provider: ProviderName) -> UploadRow | None:
        rows = (row for row in self.asked.values() if (row.sha256, row.provider) == (sha256, provider))
        return next((row for row in rows if row.upload_status == "completed"), None)

    def _check_path(self, path: str) -> None:
        self._check_gate()
        if not path.startswith(self._beginning) or "/" in path.removeprefix(self._beginning):
            raise NotTheTrialsError("the path of the object is not marked as the trial's")

    def _check_gate(self) -> None:
        if self._gate.is_shut:
            raise NotTheTrialsError("the trial is over")

    def _marked(self, row: UploadRow) -> UploadRow:
        self._check_gate()
        if row.provider_file_id not in self._made():
            raise NotTheTrialsError("the row is about a file that the trial has not made")
        self.asked[row.provider_file_id] = row
        return replace(row, upload_status=SHADOW_STATUS)
