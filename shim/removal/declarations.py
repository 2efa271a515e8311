"""The migrations as an application declares them, and how one is taken out of where it is declared and installed."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import libcst as cst

from migration import Migration
from migration.routing.shim import Shim
from shim.application import Application
from shim.removal.imports import GapKeeper
from shim.removal.sources import (
    DeclarationsNotFoundError,
    SourceError,
    SourceFile,
    SourceTree,
    UnknownMigrationError,
)

if TYPE_CHECKING:
    from pathlib import Path

_INSTALLS = frozenset({"install", "uninstall"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """One migration, with the functions that are switched by it.

    Attributes:
        name: of the migration and its flag.
        targets: its declarations, by the function in front of which each is installed (`pkg.mod:func`).
        module: the module that declares it.
    """

    name: str
    targets: Mapping[str, Migration]
    module: str


def declared(where: str, root: Path) -> dict[str, Declared]:
    """All migrations of an application or of a mapping, by name.

    Args:
        where: the application, or a mapping of targets to declarations (`pkg.mod:NAME`).
        root: the folder of the sources, from which they are imported.

    Raises:
        DeclarationsNotFoundError: there is no such thing.
    """
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    module, colon, attribute = where.partition(":")
    if not colon:
        raise DeclarationsNotFoundError(where, "it has not two parts")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise DeclarationsNotFoundError(where, str(error)) from error
    if isinstance(found, Application):
        module = (found.declared_at or where).partition(":")[0]
        found = found.migrations()
    if not isinstance(found, Mapping) or not all(isinstance(each, Migration) for each in found.values()):
        raise DeclarationsNotFoundError(where, f"it is of type {type(found).__name__}")
    names = dict.fromkeys(migration.name for migration in found.values())
    return {
        name: Declared(
            name=name, targets={target: each for target, each in found.items() if each.name == name}, module=module
        )
        for name in names
    }


def one_declared(name: str, where: str, root: Path) -> Declared:
    """The migration with this name.

    Raises:
        UnknownMigrationError: there is none.
        DeclarationsNotFoundError: there is no such application or mapping.
    """
    all_of_them = declared(where, root)
    if name not in all_of_them:
        raise UnknownMigrationError(name, tuple(all_of_them))
    return all_of_them[name]


def legacy_of(target: str) -> Callable[..., Any]:
    """The legacy function at a target, also if a migration stands in front of it or a base class defines it.

    Raises:
        SourceError: there is no such function.
    """
    module_name, _, path = target.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
        for part in path.split("."):
            found = inspect.getattr_static(found, part)
    except (ImportError, AttributeError) as error:
        raise SourceError(target, str(error)) from error
    found = getattr(found, "__func__", found)
    function = found.legacy if isinstance(found, Shim) else found
    if not inspect.isfunction(function):
        raise SourceError(target, f"it is of type {type(function).__name__}, not a function")
    return function


@dataclass(slots=True)
class Undeclared:
    """What was taken out.

    Attributes:
        removed: how many entries, calls and decorators have gone.
        mixed: places where it is declared together with others, in words; they are left to be changed by hand.
    """

    removed: int = 0
    mixed: list[str] = field(default_factory=list)


def undeclare(tree: SourceTree, migration: Declared, changed: dict[SourceFile, cst.Module]) -> Undeclared:
    """Take the migration out of the modules that declare or install it; `changed` gets what they become.

    An entry of a mapping goes if all that it holds belongs to the migration: `"pkg.mod:func": DECLARATION`, also within
    `Application(migrations={...})`, or `**function(...)`, whose value is looked at. So do `@migrate(DECLARATION)`,
    `install("pkg.mod:func", ...)`, and a constant that holds the declaration.

    Raises:
        SourceError: a module cannot be read.
    """
    result = Undeclared()
    words = frozenset({"migrate(", migration.name, *migration.targets})
    candidates = {tree.module(migration.module), *tree.mentioning(words)}
    for file in sorted(candidates, key=lambda each: each.relative):
        if not _may_declare(file):
            continue
        change = _Undeclare(migration, file)
        module = changed.get(file, file.parsed.module).visit(change)
        result.mixed += change.mixed
        if change.removed:
            result.removed += change.removed
            changed[file] = module
    return result


def _may_declare(file: SourceFile) -> bool:
    """Whether it uses the library; tests of a migration go on testing what is left of it."""
    first = file.relative.partition("/")[0]
    return "migration" in file.text and first not in {"migration", "tests"}


class _Undeclare(GapKeeper):
    """Walks one module; what an expression means is asked of the imported module itself."""

    def __init__(self, migration: Declared, file: SourceFile) -> None:
        super().__init__()
        self.removed = 0
        self.mixed: list[str] = []
        self._migration = migration
        self._file = file
        self._module = file.parsed.module
        self._depth = 0

    def visit_FunctionDef(self, node: cst.FunctionDef) -> None:  # noqa: ARG002  # libcst's own name
        self._depth += 1  # what a function builds has no value yet

    def leave_FunctionDef(self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef) -> cst.FunctionDef:
        self._depth -= 1
        kept = [each for each in original_node.decorators if not self._migrates(each)]
        if len(kept) == len(original_node.decorators):
            return updated_node
        self.removed += 1
        return updated_node.with_changes(decorators=kept)

    def leave_Dict(self, original_node: cst.Dict, updated_node: cst.Dict) -> cst.Dict:
        if self._depth:
            return updated_node
        pairs = zip(original_node.elements, updated_node.elements, strict=True)
        kept = [new for old, new in pairs if not self._is_ours(old.value)]
        self.removed += len(original_node.elements) - len(kept)
        if kept or not original_node.elements:
            return updated_node.with_changes(elements=kept)
        tight = cst.SimpleWhitespace("")
        return cst.Dict([], lbrace=cst.LeftCurlyBrace(tight), rbrace=cst.RightCurlyBrace(tight))

    def changed_line(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> cst.SimpleStatementLine:
        """Remove `install(...)` of one of its functions, and a constant that holds its declaration."""
        [statement, *others] = original_node.body
        if others or not (self._installs(statement) or self._holds_declaration(statement)):
            return updated_node
        self.removed += 1
        return updated_node.with_changes(body=[])

    def _migrates(self, decorator: cst.Decorator) -> bool:
        call = decorator.decorator
        if not isinstance(call, cst.Call) or not call.args:
            return False
        return _last_word(call.func) == "migrate" and self._is_ours(call.args[0].value)

    def _installs(self, statement: cst.BaseSmallStatement) -> bool:
        if not isinstance(statement, cst.Expr) or not isinstance(statement.value, cst.Call):
            return False
        call = statement.value
        if _last_word(call.func) not in _INSTALLS or not call.args:
            return False
        target = call.args[0].value
        return isinstance(target, cst.SimpleString) and target.evaluated_value in self._migration.targets

    def _holds_declaration(self, statement: cst.BaseSmallStatement) -> bool:
        if self._depth or not isinstance(statement, cst.Assign | cst.AnnAssign):
            return False
        target = statement.target if isinstance(statement, cst.AnnAssign) else statement.targets[0].target
        found = self._value(target)
        return isinstance(found, Migration) and found.name == self._migration.name

    def _is_ours(self, expression: cst.BaseExpression) -> bool:
        found = self._value(expression)
        if isinstance(found, Migration):
            return found.name == self._migration.name
        if not isinstance(found, Mapping) or not found:
            return False
        ours = [isinstance(each, Migration) and each.name == self._migration.name for each in found.values()]
        if any(ours) and not all(ours):
            self.mixed.append(f"{self._file.relative}: {self._text(expression)} holds other migrations as well")
        return all(ours)

    def _value(self, expression: cst.BaseExpression) -> Any:
        """The value of a module's own expression; None if that cannot be told."""
        if not isinstance(expression, cst.Name | cst.Call | cst.Attribute):
            return None
        try:
            module = importlib.import_module(self._file.module)
            return eval(self._text(expression), dict(vars(module)))  # noqa: S307  # the module's own code, once more
        except Exception:  # noqa: BLE001  # it may need what only a function around it has
            return None

    def _text(self, expression: cst.BaseExpression) -> str:
        return self._module.code_for_node(expression).strip()


def _last_word(expression: cst.BaseExpression) -> str:
    if isinstance(expression, cst.Attribute):
        return expression.attr.value
    return expression.value if isinstance(expression, cst.Name) else ""
