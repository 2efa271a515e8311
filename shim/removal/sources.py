"""The Python sources of an application, parsed when they are needed; and the errors of this package."""

from __future__ import annotations

import ast
import builtins
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import libcst as cst
from libcst.helpers import ModuleNameAndPackage
from libcst.metadata import FullyQualifiedNameProvider, MetadataWrapper

from shim.errors import ShimError


class RemovalError(ShimError):
    """A migration cannot be looked for, or be removed; the text says why and what to do."""


class UnknownMigrationError(RemovalError):
    """No migration has this name."""

    exit_code = 2

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        super().__init__(f"no migration is called {name!r}; there are {', '.join(known) or 'none'}")


class DeclarationsNotFoundError(RemovalError):
    """The mapping of migrations cannot be imported."""

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(
            f"{where!r} cannot be used: {problem}; name an application, or a mapping of targets to declarations, as "
            "'pkg.mod:NAME'"
        )


class SourceError(RemovalError):
    """A source file cannot be read or understood."""

    def __init__(self, path: object, problem: str) -> None:
        super().__init__(f"{path} cannot be used: {problem}")


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
    """All Python files below a folder, but for virtual environments, what was built, and names that begin with a dot.

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


# Which module imports which, and where the names of a module come from.

Origin = tuple[str, str | None, str | None]
"""What to import for a name: the module, what of it (None for the module itself), and as what."""


def imports_back(tree: SourceTree, start: str, wanted: str) -> bool:
    """Whether importing `start` imports `wanted`, so that `wanted` cannot import it at its head.

    Imports inside functions, and those for type checkers only, do not count.
    """
    return wanted in closure(tree, [start])


def closure(tree: SourceTree, names: Iterable[str]) -> set[str]:
    """These modules of the tree, and all that importing them imports from it."""
    by_name = {file.module: file for file in tree.files}
    seen, waiting = set[str](), list(names)
    while waiting:
        name = waiting.pop()
        if name in seen or name not in by_name:
            continue
        seen.add(name)
        waiting += _imported(by_name[name])
    return seen


def _imported(file: SourceFile) -> Iterator[str]:
    for statement in _at_its_head(ast.parse(file.text).body):
        if isinstance(statement, ast.Import):
            names = [alias.name for alias in statement.names]
        else:
            base = file.package.split(".")
            base = base[: len(base) - statement.level + 1] if statement.level else []
            origin = ".".join([*base, *filter(None, [statement.module])])
            names = [origin, *(f"{origin}.{alias.name}" for alias in statement.names)]
        for name in names:
            parts = name.split(".")
            yield from (".".join(parts[:length]) for length in range(1, len(parts) + 1))


def _at_its_head(body: Iterable[ast.stmt]) -> Iterator[ast.Import | ast.ImportFrom]:
    for statement in body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            yield statement
        elif isinstance(statement, ast.If) and "TYPE_CHECKING" not in ast.dump(statement.test):
            yield from _at_its_head([*statement.body, *statement.orelse])
        elif isinstance(statement, ast.Try):
            yield from _at_its_head([*statement.body, *statement.orelse, *statement.finalbody])


def last_changed(tree: SourceTree, candidates: Iterable[str], legacy: Iterable[str]) -> float:
    """The newest modification of a file that the candidates use and legacy does not, in seconds since the epoch.

    Args:
        tree: the sources.
        candidates: the modules of the candidates, which always count.
        legacy: those of the legacy functions. What both sides use changes both alike, and does not count.

    Raises:
        SourceError: a candidate's module is not in the tree.
    """
    own = [tree.module(name) for name in candidates]
    shared = closure(tree, legacy)
    used = closure(tree, (file.module for file in own)) - shared
    files: list[SourceFile] = [*own, *(file for file in tree.files if file.module in used)]
    return max(file.path.stat().st_mtime for file in files)


def origins(file: SourceFile, names: Iterable[str]) -> dict[str, Origin]:
    """From where another module can import what these names stand for in this one."""
    known: dict[str, Origin] = {}
    for statement in ast.walk(ast.parse(file.text)):
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                known[alias.asname or alias.name.partition(".")[0]] = (alias.name, None, alias.asname)
        elif isinstance(statement, ast.ImportFrom) and statement.module and not statement.level:
            for alias in statement.names:
                known[alias.asname or alias.name] = (statement.module, alias.name, alias.asname)
    wanted = [name for name in names if not hasattr(builtins, name)]
    return {name: known.get(name, (file.module, name, None)) for name in wanted}


def bound_names(file: SourceFile) -> set[str]:
    """Names that a module binds at its outermost level."""
    names = {
        alias.asname or alias.name.partition(".")[0]
        for each in _at_its_head(ast.parse(file.text).body)
        for alias in each.names
    }
    for statement in ast.parse(file.text).body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(statement.name)
        elif isinstance(statement, ast.Assign):
            names |= {each.id for each in statement.targets if isinstance(each, ast.Name)}
    return names
