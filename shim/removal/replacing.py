"""Puts the candidate where the legacy function is: same name, same signature, sync and awaitable."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import libcst as cst
from libcst.metadata import CodeRange, PositionProvider

from shim.removal.imports import with_imports
from shim.removal.sources import Origin, SourceFile
from shim.removal.uses import Use, UseKind


def passed_on(parameters: cst.Parameters) -> list[cst.Arg]:
    """Arguments that hand every parameter on, each in the way in which it was taken."""
    arguments = [cst.Arg(cst.Name(each.name.value)) for each in (*parameters.posonly_params, *parameters.params)]
    if isinstance(parameters.star_arg, cst.Param):
        arguments.append(cst.Arg(cst.Name(parameters.star_arg.name.value), star="*"))
    arguments += [
        cst.Arg(
            cst.Name(each.name.value),
            keyword=cst.Name(each.name.value),
            equal=cst.AssignEqual(cst.SimpleWhitespace(""), cst.SimpleWhitespace("")),
        )
        for each in parameters.kwonly_params
    ]
    if parameters.star_kwarg is not None:
        arguments.append(cst.Arg(cst.Name(parameters.star_kwarg.name.value), star="**"))
    return arguments


def names_in(function: cst.FunctionDef) -> set[str]:
    """The first words of what its annotations and defaults are made of: `os` in `os.PathLike[str]`."""
    collector = _FirstWords()
    for part in (function.params, function.returns):
        if part is not None:
            part.visit(collector)
    return collector.names - {each.value for each in _parameter_names(function.params)}


def _parameter_names(parameters: cst.Parameters) -> Iterator[cst.Name]:
    for each in (*parameters.posonly_params, *parameters.params, *parameters.kwonly_params):
        yield each.name


class _FirstWords(cst.CSTVisitor):
    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def visit_Attribute(self, node: cst.Attribute) -> bool:
        node.value.visit(self)
        return False

    def visit_Name(self, node: cst.Name) -> None:
        self.names.add(node.value)


def find_function(body: Sequence[cst.BaseStatement], path: str) -> cst.FunctionDef | None:
    """The function at `func` or `Class.method`, if these statements define it."""
    first, _, rest = path.partition(".")
    for statement in body:
        if isinstance(statement, cst.FunctionDef) and not rest and statement.name.value == first:
            return statement
        if isinstance(statement, cst.ClassDef) and rest and statement.name.value == first:
            return find_function(
                [each for each in statement.body.body if isinstance(each, cst.BaseCompoundStatement)], rest
            )
    return None


BRIDGE = "call_blocking"
"""What of `migration` a synchronous caller still needs: it waits for the background loop of the process."""

THREAD = "to_thread"
"""What of `asyncio` a caller that awaits a function that blocks needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replacement:
    """One function that is put in the place of a legacy one.

    Attributes:
        path: where it stands in its module: `func` or `Class.method`.
        signature: the legacy function, the decorators left out; only its signature and docstring are used.
        candidate_module, candidate_name: the candidate.
        has_twin: whether no twin has to be made: the module has its own, or a coroutine function needs none.
        local_import: whether the import must wait for the first call, because the candidate's module imports
            this one.
        candidate_blocks: whether the candidate is no coroutine function.
        alias: what the candidate is called here, if the module has something else of its name.
    """

    path: str
    signature: cst.FunctionDef
    candidate_module: str
    candidate_name: str
    has_twin: bool = False
    local_import: bool = False
    candidate_blocks: bool = False
    alias: str | None = None

    @property
    def candidate(self) -> cst.Name:
        """What the candidate is called here."""
        return cst.Name(self.alias or self.candidate_name)

    @property
    def is_awaited(self) -> bool:
        """Whether legacy is a coroutine function."""
        return self.signature.asynchronous is not None

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
        """Whether importing the candidate is all that the twin takes."""
        named_so = self.candidate_name == self.twin and not self.candidate_blocks
        return named_so and not self.is_method and not self.local_import


def replaced(module: cst.Module, replacements: Sequence[Replacement]) -> cst.Module:
    """The module with the candidate in place. What it imports is added and removed by others."""
    body: Sequence[cst.BaseStatement] = module.body
    for each in replacements:
        body = _in_body(body, each.path, each)
    return module.with_changes(body=body)


def needed_by(replacements: Sequence[Replacement]) -> list[Origin]:
    """What the module has to import for them."""
    early = [each for each in replacements if not each.local_import]
    bridged = any(not each.is_awaited and not each.candidate_blocks for each in replacements)
    in_thread = any(each.candidate_blocks for each in replacements)
    return [
        *([("migration", BRIDGE, None)] if bridged else []),
        *([("asyncio", THREAD, None)] if in_thread else []),
        *((each.candidate_module, each.candidate_name, each.alias) for each in early),
    ]


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
    functions: list[cst.BaseStatement] = [
        legacy.with_changes(
            decorators=[each for each in legacy.decorators if _is_static(each)],
            body=_block(replacement, [*_docstring(legacy), _return(_called(replacement))]),
        )
    ]
    if not (replacement.has_twin or replacement.imports_twin):
        functions.append(
            legacy.with_changes(
                name=cst.Name(replacement.twin),
                asynchronous=cst.Asynchronous(),
                decorators=[each for each in legacy.decorators if _is_static(each)],
                leading_lines=[cst.EmptyLine(indent=False)] * (1 if replacement.is_method else 2),
                body=_block(replacement, [_twins_docstring(replacement), _return(_awaited(replacement))]),
            )
        )
    return functions


def _called(replacement: Replacement) -> cst.BaseExpression:
    """How the function in the place of legacy calls the candidate."""
    if replacement.is_awaited:
        return _awaited(replacement)
    if replacement.candidate_blocks:
        return cst.Call(replacement.candidate, _arguments(replacement))
    return cst.Call(cst.Name(BRIDGE), [cst.Arg(replacement.candidate), *_arguments(replacement)])


def _awaited(replacement: Replacement) -> cst.BaseExpression:
    """How a coroutine function calls the candidate."""
    if replacement.candidate_blocks:
        return cst.Await(cst.Call(cst.Name(THREAD), [cst.Arg(replacement.candidate), *_arguments(replacement)]))
    return cst.Await(cst.Call(replacement.candidate, _arguments(replacement)))


def _arguments(replacement: Replacement) -> list[cst.Arg]:
    return passed_on(replacement.signature.params)


def _block(replacement: Replacement, statements: list[cst.BaseStatement]) -> cst.IndentedBlock:
    if replacement.local_import:
        name = replacement.candidate_name + (f" as {replacement.alias}" if replacement.alias else "")
        late = cst.parse_statement(f"from {replacement.candidate_module} import {name}\n")
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


# Gives callers that await the shim the asynchronous twin instead: `f.aio(...)` becomes `f_async(...)`.


def awaiting(file: SourceFile, uses: Iterable[Use]) -> cst.Module:
    """The module with `.aio` replaced where the uses say that the function is awaited.

    Args:
        file: the module.
        uses: what was found in it.
    """
    change = _Awaiting([use for use in uses if use.kind is UseKind.AWAITED])
    changed = file.parsed.visit(change)
    wanted: list[Origin] = [(origin, name, None) for origin, name in sorted(change.imports) if origin != file.module]
    return with_imports(changed, wanted)


class _Awaiting(cst.CSTTransformer):
    METADATA_DEPENDENCIES = (PositionProvider,)

    def __init__(self, uses: Iterable[Use]) -> None:
        super().__init__()
        self.imports: set[tuple[str, str]] = set()
        self._uses = list(uses)

    def leave_Attribute(self, original_node: cst.Attribute, updated_node: cst.Attribute) -> cst.BaseExpression:
        """Replace `f.aio` where `f` is the function."""
        if original_node.attr.value != "aio":
            return updated_node
        use = self._use_at(original_node)
        if use is None:
            return updated_node
        inner = updated_node.value
        module, _, path = use.target.partition(":")
        name = path.rpartition(".")[2]
        if isinstance(inner, cst.Attribute) and inner.attr.value == name:
            return inner.with_changes(attr=cst.Name(f"{name}_async"))
        if isinstance(inner, cst.Name) and "." not in path:
            self.imports.add((module, f"{name}_async"))
            return cst.Name(f"{name}_async")
        return updated_node

    def _use_at(self, node: cst.Attribute) -> Use | None:
        place = self.get_metadata(PositionProvider, node)
        assert isinstance(place, CodeRange)  # noqa: S101  # every node has one
        line = place.end.line
        return next((use for use in self._uses if use.line <= line <= use.last_line), None)
