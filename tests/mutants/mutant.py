"""What a mutant is: the program with one deliberate defect, made by replacing text in one of its files."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class PatchError(AssertionError):
    """A mutant's patch does not fit the program any more: write it anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One defect.

    Attributes:
        defect: what is wrong, in words.
        file: the patched file.
        patch: the replaced texts, each of which stands in the file once, with what stands there instead.
        shows_in: a field in which both sides differ because of it; `[*]` is any index.
    """

    defect: str
    file: str
    patch: Mapping[str, str]
    shows_in: str

    def write(self, folder: Path) -> Path:
        """Copy the program into `folder`, with the defect; returns the folder that Python is to import from.

        Raises:
            PatchError: the patch does not fit.
        """
        shutil.copytree(ROOT / "tools", folder / "tools")
        path = folder / self.file
        path.write_text(self.patched(path.read_text(encoding="utf-8")), encoding="utf-8")
        return folder

    def patched(self, source: str) -> str:
        """The file's text with the defect.

        Raises:
            PatchError: the patch does not fit.
        """
        for old, new in self.patch.items():
            if source.count(old) != 1:
                raise PatchError(f"{self.defect}: {self.file} has {source.count(old)} times, not once: {old!r}")
            source = source.replace(old, new)
        try:
            compile(source, self.file, "exec")
        except SyntaxError as error:
            raise PatchError(f"{self.defect}: {self.file} is no Python any more") from error
        return source
