"""Adds imports at the head of a module, where they belong: by kind, then in alphabetical order."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable

import libcst as cst
from libcst.helpers import get_full_name_for_node

from shim.removal.sources import Origin

MAX_LINE = 100
"""Characters after which the names of an import get a line each."""

_Key = tuple[int, bool, str]
"""Its section, whether it is `from ...` (these come second), and the module."""


def with_imports(module: cst.Module, wanted: Iterable[Origin], own: Collection[str]) -> cst.Module:
    """The module with these imports, those that it has already left out.

    Args:
        module: what imports.
        wanted: what it imports.
        own: the outermost packages of the tree, which are imported last.
    """
    for origin in wanted:
        module = module.with_changes(body=_with(list(module.body), origin, own))
    return module


def _with(
    body: list[cst.SimpleStatementLine | cst.BaseCompoundStatement], origin: Origin, own: Collection[str]
) -> list[cst.SimpleStatementLine | cst.BaseCompoundStatement]:
    module, name, alias = origin
    heads = {number: key for number, each in enumerate(body) if (key := _key(each, own)) is not None}
    for number in heads:
        statement = body[number]
        [found] = statement.body if isinstance(statement, cst.SimpleStatementLine) else [None]
        if isinstance(found, cst.ImportFrom) and name and _module(found) == module and not _is_star(found):
            return [*body[:number], _merged(statement, found, name, alias), *body[number + 1 :]]
        if (
            isinstance(found, cst.Import)
            and name is None
            and any(each.evaluated_name == module for each in found.names)
        ):
            return body
    return _inserted(body, heads, _line(module, name, alias), (_section(module, own), name is not None, module))


def _inserted(
    body: list[cst.SimpleStatementLine | cst.BaseCompoundStatement],
    heads: dict[int, _Key],
    line: cst.SimpleStatementLine,
    key: _Key,
) -> list[cst.SimpleStatementLine | cst.BaseCompoundStatement]:
    before = [number for number, each in heads.items() if each < key]
    after = [number for number, each in heads.items() if each > key]
    place = before[-1] + 1 if before else (after[0] if after else _first(body))
    if before and heads[before[-1]][0] == key[0]:
        return [*body[:place], line, *body[place:]]
    if after and heads[after[0]][0] == key[0]:
        next_one = body[place]
        line = line.with_changes(leading_lines=next_one.leading_lines)
        return [*body[:place], line, next_one.with_changes(leading_lines=[]), *body[place + 1 :]]
    return [*body[:place], line.with_changes(leading_lines=[cst.EmptyLine(indent=False)]), *body[place:]]


def _first(body: list[cst.SimpleStatementLine | cst.BaseCompoundStatement]) -> int:
    """Behind the docstring."""
    has_docstring = bool(body) and cst.Module(body=body[:1]).get_docstring() is not None
    return 1 if has_docstring else 0


def _key(statement: cst.BaseStatement, own: Collection[str]) -> _Key | None:
    """Where an import belongs; None of anything else."""
    if not isinstance(statement, cst.SimpleStatementLine) or len(statement.body) != 1:
        return None
    [found] = statement.body
    if isinstance(found, cst.ImportFrom):
        module = _module(found)
    elif isinstance(found, cst.Import):
        module = found.names[0].evaluated_name
    else:
        return None
    return _section(module, own), isinstance(found, cst.ImportFrom), module


def _section(module: str, own: Collection[str]) -> int:
    first = module.partition(".")[0]
    if first == "__future__":
        return 0
    if first in sys.stdlib_module_names:
        return 1
    return 3 if first in own or not first else 2


def _module(found: cst.ImportFrom) -> str:
    return "." * len(found.relative) + (get_full_name_for_node(found.module) or "" if found.module else "")


def _is_star(found: cst.ImportFrom) -> bool:
    return isinstance(found.names, cst.ImportStar)


def _merged(
    statement: cst.SimpleStatementLine | cst.BaseCompoundStatement, found: cst.ImportFrom, name: str, alias: str | None
) -> cst.SimpleStatementLine:
    assert not isinstance(found.names, cst.ImportStar)  # noqa: S101  # asked before
    names = {(each.evaluated_name, each.evaluated_alias) for each in found.names} | {(name, alias)}
    line = _parsed(_module(found), sorted(names, key=lambda each: (not each[0].isupper(), each[0].islower(), each[0])))
    return line.with_changes(leading_lines=statement.leading_lines)


def _line(module: str, name: str | None, alias: str | None) -> cst.SimpleStatementLine:
    if name is not None:
        return _parsed(module, [(name, alias)])
    return _statement(f"import {module}{f' as {alias}' if alias else ''}\n")


def _parsed(module: str, names: Iterable[tuple[str, str | None]]) -> cst.SimpleStatementLine:
    shown = [f"{name} as {alias}" if alias else name for name, alias in names]
    text = f"from {module} import {', '.join(shown)}\n"
    if len(text) > MAX_LINE:
        text = f"from {module} import (\n{''.join(f'    {each},{chr(10)}' for each in shown)})\n"
    return _statement(text)


def _statement(text: str) -> cst.SimpleStatementLine:
    statement = cst.parse_statement(text)
    assert isinstance(statement, cst.SimpleStatementLine)  # noqa: S101  # an import is one
    return statement
