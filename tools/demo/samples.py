"""The files of the demonstration."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.errors import ToolsError
from tools.settings import MEGABYTE

_DOCUMENTS = Path(__file__).parent / "documents"
_REPOSITORY = Path(__file__).parents[2]
_KINDS = ("*.txt", "*.md", "*.pdf", "*.png")


class DemoError(ToolsError):
    """The demonstration cannot go on; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A file to upload, with what is needed to recognise it at the provider."""

    path: Path
    size: int
    sha256: str


def choose_samples(files: Sequence[Path]) -> list[Sample]:
    """The files given, or else documents of this repository.

    Raises:
        DemoError: one of them is no file that can be read.
    """
    return [sample_of(path) for path in files or _own_documents()]


def sample_of(path: Path) -> Sample:
    """The file, measured.

    Raises:
        DemoError: it is no file that can be read.
    """
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return Sample(path=path.resolve(), size=file.tell(), sha256=digest)
    except OSError as error:
        raise DemoError(f"{path} cannot be read: {error.strerror}") from error


def make_big_sample(folder: Path, megabytes: int) -> Sample:
    """A new file of this size that nothing can compress."""
    path = folder / f"generated-{megabytes}-MB.bin"
    with path.open("wb") as file:
        for _ in range(megabytes):
            file.write(os.urandom(MEGABYTE))
    return sample_of(path)


def _own_documents() -> list[Path]:
    samples = [path for kind in _KINDS for path in sorted(_DOCUMENTS.glob(kind))]
    repository = [_REPOSITORY / "README.md", *sorted((_REPOSITORY / "docs").glob("*.md"))]
    return [*samples, *(path for path in repository if path.is_file() and path.stat().st_size)]
