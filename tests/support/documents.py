"""The documents' code blocks, and running them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SECONDS = 120.0

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MARKER = re.compile(r"<!-- ([^\n]*?) -->\n\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A block of code in a document.

    Attributes:
        document: from the root of the repository.
        line: of its fence.
        heading: the heading above it.
        language: as the fence names it.
        text: what is in it.
        marker: the comment right before the fence: `not run: reason`, `output`, `excerpt of FILE`; empty without one.
    """

    document: str
    line: int
    heading: str
    language: str
    text: str
    marker: str

    @property
    def place(self) -> str:
        """For messages."""
        return f"{self.document}:{self.line}"

    @property
    def is_run(self) -> bool:
        """Whether it is to be run."""
        return self.language in {"sh", "python"} and not self.marker


def documents() -> list[Path]:
    """Every document of the project."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(document: Path) -> list[Block]:
    """The code blocks of a document, in order."""
    text = document.read_text(encoding="utf-8")
    return list(_blocks(document.relative_to(ROOT).as_posix(), text))


def _blocks(name: str, text: str) -> Iterator[Block]:
    for found in _FENCE.finditer(text):
        before = text[: found.start()]
        headings = re.findall(r"^#+ (.*)$", before, re.MULTILINE)
        marker = _MARKER.search(before)
        yield Block(
            document=name,
            line=before.count("\n") + 1,
            heading=headings[-1] if headings else "",
            language=found[1],
            text=found[2],
            marker=marker[1] if marker else "",
        )


class Reader:
    """Types a document's blocks, one after the other, in a folder.

    Args:
        folder: where it begins.
        environment: the variables of every command.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.out = ""
        self._environment = {**environment, "PATH": f"{Path(sys.executable).parent}:{environment['PATH']}"}
        self._kept: list[str] = []

    def does(self, block: Block) -> None:
        """Run a block, or compare what the one before has printed with it.

        Raises:
            AssertionError: it fails, or the output is another.
        """
        if block.marker == "output":
            assert matches(block.text, self.out), f"{block.place} is not what was printed:\n{self.out}"
        elif block.is_run:
            self.out = self._run(block)

    def _run(self, block: Block) -> str:
        command = (
            [sys.executable, "-c", block.text]
            if block.language == "python"
            else ["bash", "-euo", "pipefail", "-c", "\n".join([*self._kept, block.text])]
        )
        finished = subprocess.run(  # noqa: S603  # the project's own documents
            command,
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert finished.returncode == 0, f"{block.place} failed:\n{finished.stdout}\n{finished.stderr}"
        for line in block.text.splitlines():
            if line.startswith("cd "):
                self.folder /= line.removeprefix("cd ")
            elif line.startswith("export "):
                self._kept.append(line)
        return finished.stdout


def matches(expected: str, printed: str) -> bool:
    """Whether it was printed; `...` matches anything, and any number of blanks for one."""
    pattern = r".*?".join(map(re.escape, _stripped(expected).split("...")))
    return re.fullmatch(pattern, _stripped(printed), re.DOTALL) is not None


def _stripped(text: str) -> str:
    return "\n".join(re.sub(" {2,}", " ", line.strip()) for line in text.strip().splitlines())
