"""Which module imports which, and where the names of a module come from."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Iterator

from shim.removal.tree import SourceFile, SourceTree

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
