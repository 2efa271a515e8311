"""Puts the new implementation where the legacy function stands: same name, same signature, sync and awaitable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import libcst as cst

from shim.removal.imports import Origin
from shim.removal.signature import find_function, passed_on

BRIDGE = "call_blocking"
"""What of `migration` a synchronous caller still needs: it waits for the background loop of the process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replacement:
    """One function that is put in the place of a legacy one.

    Attributes:
        path: where it stands in its module: `func` or `Class.method`.
        signature: the legacy function, the decorators left out; only its signature and docstring are used.
        candidate_module, candidate_name: the new implementation.
        has_twin: whether the module has an asynchronous function of the twin's name of its own.
        local_import: whether the import must wait for the first call, because the new implementation's module imports
            this one.
    """

    path: str
    signature: cst.FunctionDef
    candidate_module: str
    candidate_name: str
    has_twin: bool = False
    local_import: bool = False

    @property
    def name(self) -> str:
        """The function's own name."""
        return self.path.rpartition(".")[2]

    @property
    def twin(self) -> str:
        """The name under which callers await it."""
        return f"{self.name}_async"

    @property
    def is_method(self) -> bool:
        """Whether a class holds it."""
        return "." in self.path

    @property
    def imports_twin(self) -> bool:
        """Whether importing the new implementation is all that the twin takes."""
        return not self.is_method and not self.local_import and self.candidate_name == self.twin


def replaced(module: cst.Module, replacements: Sequence[Replacement]) -> cst.Module:
    """The module with the new implementation in place. What it imports is added and removed by others."""
    body: Sequence[cst.BaseStatement] = module.body
    for each in replacements:
        body = _in_body(body, each.path, each)
    return module.with_changes(body=body)


def needed_by(replacements: Sequence[Replacement]) -> list[Origin]:
    """What the module has to import for them."""
    early = [each for each in replacements if not each.local_import]
    return [("migration", BRIDGE, None), *((each.candidate_module, each.candidate_name, None) for each in early)]


def _in_body(body: Sequence[cst.BaseStatement], path: str, replacement: Replacement) -> list[cst.BaseStatement]:
    owner, _, rest = path.partition(".")
    if rest:
        return [
            statement.with_changes(body=_class_body(statement.body, rest, replacement))
            if isinstance(statement, cst.ClassDef) and statement.name.value == owner
            else statement
            for statement in body
        ]
    new = _functions(replacement)
    place = next(
        (number for number, each in enumerate(body) if isinstance(each, cst.FunctionDef) and each.name.value == owner),
        None,
    )
    if place is None:  # a base class defines it
        return [*body, *new]
    new[0] = new[0].with_changes(leading_lines=body[place].leading_lines)  # type: ignore[attr-defined]  # a function's
    return [*body[:place], *new, *body[place + 1 :]]


def _class_body(body: cst.BaseSuite, path: str, replacement: Replacement) -> cst.BaseSuite:
    statements = [each for each in body.body if isinstance(each, cst.BaseStatement)]
    return body.with_changes(body=_in_body(statements, path, replacement))


def _functions(replacement: Replacement) -> list[cst.BaseStatement]:
    legacy = replacement.signature
    call = cst.Call(cst.Name(BRIDGE), [cst.Arg(cst.Name(replacement.candidate_name)), *_arguments(replacement)])
    functions: list[cst.BaseStatement] = [
        legacy.with_changes(
            decorators=[each for each in legacy.decorators if _is_static(each)],
            body=_block(replacement, [*_docstring(legacy), _return(call)]),
        )
    ]
    if not (replacement.has_twin or replacement.imports_twin):
        awaited = cst.Await(cst.Call(cst.Name(replacement.candidate_name), _arguments(replacement)))
        functions.append(
            legacy.with_changes(
                name=cst.Name(replacement.twin),
                asynchronous=cst.Asynchronous(),
                decorators=[each for each in legacy.decorators if _is_static(each)],
                leading_lines=[cst.EmptyLine(indent=False)] * (1 if replacement.is_method else 2),
                body=_block(replacement, [_twins_docstring(replacement), _return(awaited)]),
            )
        )
    return functions


def _arguments(replacement: Replacement) -> list[cst.Arg]:
    return passed_on(replacement.signature.params)


def _block(replacement: Replacement, statements: list[cst.BaseStatement]) -> cst.IndentedBlock:
    if replacement.local_import:
        late = cst.parse_statement(f"from {replacement.candidate_module} import {replacement.candidate_name}\n")
        statements.insert(len(statements) - 1, late)
    return cst.IndentedBlock(statements)


def _return(value: cst.BaseExpression) -> cst.SimpleStatementLine:
    return cst.SimpleStatementLine([cst.Return(value)])


def _docstring(function: cst.FunctionDef) -> list[cst.BaseStatement]:
    first = function.body.body[0] if function.body.body else None
    has_one = function.get_docstring(clean=False) is not None
    return [first] if has_one and isinstance(first, cst.BaseStatement) else []


def _twins_docstring(replacement: Replacement) -> cst.BaseStatement:
    return cst.parse_statement(f'"""As `{replacement.name}`, for callers that can await."""\n')


def _is_static(decorator: cst.Decorator) -> bool:
    return isinstance(decorator.decorator, cst.Name) and decorator.decorator.value == "staticmethod"


def signature_of(module: cst.Module, path: str) -> cst.FunctionDef | None:
    """The function at `func` or `Class.method` of a module; None if the class inherits it."""
    return find_function(module.body, path)
