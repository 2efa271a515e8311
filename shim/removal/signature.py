"""The signature of a legacy function, and how a call passes it on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import libcst as cst


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
