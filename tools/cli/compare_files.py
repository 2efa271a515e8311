"""What `shim compare` compares: given files, folders, and generated files that are hard to get right."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from random import Random

from shim.cli.conventions import CommandError, ExitCode

MAX_FILES = 2000
"""More files than this are refused; each takes up to a second."""

_NAMES = (
    "plain.txt",
    "no-extension",
    ".hidden",
    "Größe 文件 🙂.md",
    "a \"quoted\" 'name'.txt",
    "two\nlines.txt",
    "100%41 done.txt",
    "back\\slash.pdf",
    "semi;colon=equals.txt",
    "n" * 180 + ".txt",
    " spaces around .txt",
    "tab\there.csv",
    "UPPER.PDF",
)
_BORDERS = tuple(2**power for power in (12, 14, 16, 18, 20, 21))
_SIZES = (1000, 0, 1, *(border + off for border in _BORDERS for off in (-1, 0, 1)))
_HOSTILE = b'--boundary\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n\0\xff\r\n--boundary--\r\n'


class UploadEntrance(StrEnum):
    """Through which of the monolith's entrances a file goes."""

    FUNCTION = "function"  # the gateway function
    FILE = "file"  # the tool, one file
    FILES = "files"  # the tool, several files in one call


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """A file to be compared, and how it is called in the result."""

    path: Path
    label: str


def collect(given: Sequence[Path]) -> list[Input]:
    """The files, and those in the folders and all below them, without hidden ones.

    Raises:
        CommandError: there is nothing there, or there are too many.
    """
    found: list[Input] = []
    for path in given:
        if path.is_dir():
            found += (Input(path=file, label=str(file)) for file in _files_in(path))
        elif path.exists():
            found.append(Input(path=path, label=str(path)))
        else:
            raise CommandError(f"{path} does not exist", ExitCode.USAGE)
        if len(found) > MAX_FILES:
            raise CommandError(f"more than {MAX_FILES} files; give fewer", ExitCode.USAGE)
    return found


def generate(folder: Path, count: int) -> list[Input]:
    """Make files whose names need escaping and whose sizes lie around the borders of what is read at once.

    The same ones each time.
    """
    made: list[Input] = []
    for index in range(count):
        name, size = _NAMES[index % len(_NAMES)], _SIZES[index % len(_SIZES)]
        path = folder / str(index) / name
        path.parent.mkdir(parents=True)
        path.write_bytes(_content(index, size))
        made.append(Input(path=path, label=f"{name} ({size} bytes)"))
    return made


def _files_in(folder: Path) -> Iterable[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield path


def _content(seed: int, size: int) -> bytes:
    """Every second file looks like a part of a form."""
    if seed % 2:
        return (_HOSTILE * (size // len(_HOSTILE) + 1))[:size]
    return Random(seed).randbytes(size)  # noqa: S311  # the same each time, no secret
