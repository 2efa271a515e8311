"""Copies of files in a folder, each whole or not there at all."""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Self

from shim.private import make_private_folder
from tools.storage.placement import Absent, Found, Stored, Taken

_PRIVATE_FOLDER = 0o700
_PRIVATE_FILE = 0o600
_ABANDONED_SECONDS = 24 * 3600

_OBJECT_IDS = uuid.UUID("8a0f0a0c-6f0e-4b5f-9d53-7d1f2c5f0b6e")
"""Namespace of the ids: an object's id follows from its path, so that the folder alone is the truth."""


class ObjectFolder:
    """Objects under `root/objects`, readable for this user only.

    A copy is written beside the objects, synced, and then hard-linked to its path, which fails if something is there:
    that is atomic for all threads and processes. The file system must have hard links.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.objects = root / "objects"
        self.incoming = root / "incoming"

    def prepare(self) -> None:
        """Create the folders that are missing."""
        for folder in (self.objects, self.incoming):
            make_private_folder(folder)

    def sweep(self) -> None:
        """Remove what processes that died left on its way in."""
        oldest = time.time() - _ABANDONED_SECONDS
        for temporary in self.incoming.iterdir():
            with suppress(FileNotFoundError):  # its own process was quicker
                if temporary.stat().st_mtime < oldest:
                    temporary.unlink()

    def path_of(self, path: str) -> Path:
        """The file that holds the object `path`."""
        return self.objects / path

    def look(self, path: str) -> Found | Absent:
        """What is stored at `path`."""
        try:
            with self.path_of(path).open("rb") as stored:
                digest = hashlib.file_digest(stored, "sha256").hexdigest()
                return Found(object_id=_object_id(path), size=stored.tell(), sha256=digest)
        except FileNotFoundError:
            return Absent()


class Arrival:
    """A copy on its way into the folder: written, then published, and in any case closed."""

    def __init__(self, folder: ObjectFolder) -> None:
        self._folder = folder
        self._temporary = folder.incoming / uuid.uuid4().hex
        self._handle: BinaryIO | None = None

    def write(self, piece: bytes) -> None:
        """Append to the copy."""
        self._opened().write(piece)

    def publish(self, path: str) -> Stored | Taken:
        """Make the copy the object `path`, unless there is one."""
        handle = self._opened()
        handle.flush()
        os.fsync(handle.fileno())
        target = self._folder.path_of(path)
        target.parent.mkdir(mode=_PRIVATE_FOLDER, parents=True, exist_ok=True)
        try:
            target.hardlink_to(self._temporary)
        except FileExistsError:
            return Taken()
        _sync_folder(target.parent)
        return Stored(object_id=_object_id(path))

    def close(self) -> None:
        """Remove the temporary file; a published object stays."""
        try:
            if self._handle is not None:
                self._handle.close()
        finally:
            self._temporary.unlink(missing_ok=True)

    def _opened(self) -> BinaryIO:
        if self._handle is None:
            self._folder.prepare()
            self._folder.sweep()
            descriptor = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE_FILE)
            self._handle = os.fdopen(descriptor, "wb")
        return self._handle

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _object_id(path: str) -> str:
    return str(uuid.uuid5(_OBJECT_IDS, path.encode("utf-8", "surrogatepass").hex()))


def _sync_folder(folder: Path) -> None:
    """Make a new name in `folder` outlive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
