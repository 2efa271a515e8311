"""The Python sources of a monolith, parsed when they are needed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import libcst as cst
from libcst.helpers import ModuleNameAndPackage
from libcst.metadata import FullyQualifiedNameProvider, MetadataWrapper

from shim.removal.errors import SourceError

MAX_FILES = 20_000
"""Source files of one tree; a larger one is to be searched in parts."""

_SKIPPED = frozenset({"build", "dist", "node_modules", "site-packages", "__pycache__"})


@dataclass(frozen=True, eq=False)
class SourceFile:
    """One module.

    Attributes:
        path: where it is.
        relative: the same, from the root of the tree, with slashes.
        module: its name as it is imported.
    """

    path: Path
    relative: str
    module: str

    @cached_property
    def text(self) -> str:
        """Its source.

        Raises:
            SourceError: it cannot be read.
        """
        try:
            return self.path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SourceError(self.relative, str(error)) from error

    @property
    def package(self) -> str:
        """What its relative imports are relative to."""
        is_package = self.path.name == "__init__.py"
        return self.module if is_package else self.module.rpartition(".")[0]

    @cached_property
    def parsed(self) -> MetadataWrapper:
        """Its syntax, with the qualified name of everything in it.

        Raises:
            SourceError: it is no Python of the version that runs here.
        """
        try:
            module = cst.parse_module(self.text)
        except cst.ParserSyntaxError as error:
            raise SourceError(self.relative, f"line {error.raw_line}: {error.message}") from error
        names = ModuleNameAndPackage(name=self.module, package=self.package)
        return MetadataWrapper(module, unsafe_skip_copy=True, cache={FullyQualifiedNameProvider: names})


class SourceTree:
    """All Python files below a folder, but for hidden ones, virtual environments and what was built.

    Args:
        root: the folder from which modules are imported.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    @cached_property
    def files(self) -> tuple[SourceFile, ...]:
        """Every file, in alphabetical order.

        Raises:
            SourceError: there are none, or too many.
        """
        paths = sorted(self._paths())
        if not paths:
            raise SourceError(self.root, "it holds no Python files; name the folder of the sources with --source")
        if len(paths) > MAX_FILES:
            raise SourceError(
                self.root, f"it holds {len(paths):,} Python files and {MAX_FILES:,} can be searched; search it in parts"
            )
        return tuple(self._file(path) for path in paths)

    @property
    def packages(self) -> frozenset[str]:
        """The outermost packages and modules."""
        return frozenset(file.module.partition(".")[0] for file in self.files)

    def module(self, name: str) -> SourceFile:
        """The file of a module.

        Raises:
            SourceError: it is not in the tree.
        """
        for file in self.files:
            if file.module == name:
                return file
        raise SourceError(name, f"no module of that name lies below {self.root}")

    def mentioning(self, words: frozenset[str]) -> Iterator[SourceFile]:
        """The files in whose text one of these words stands."""
        return (file for file in self.files if any(word in file.text for word in words))

    def _paths(self) -> Iterator[Path]:
        for folder, inner, names in os.walk(self.root):
            here = Path(folder)
            inner[:] = [
                name
                for name in inner
                if name not in _SKIPPED and not name.startswith(".") and not (here / name / "pyvenv.cfg").exists()
            ]
            yield from (here / name for name in names if name.endswith(".py"))

    def _file(self, path: Path) -> SourceFile:
        relative = path.relative_to(self.root)
        parts = relative.with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        return SourceFile(path=path, relative=relative.as_posix(), module=module)
