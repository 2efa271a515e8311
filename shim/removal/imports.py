"""Adds the imports that a change needs, and removes what only the change has made unused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import TypeVar

import libcst as cst
from libcst.codemod import CodemodContext
from libcst.codemod.visitors import AddImportsVisitor

from shim.removal.sources import Origin

_Import = TypeVar("_Import", cst.Import, cst.ImportFrom)


def with_imports(module: cst.Module, wanted: Iterable[Origin]) -> cst.Module:
    """The module with these imports at its head; what it imports already is left out."""
    context = CodemodContext()
    for origin, name, alias in wanted:
        AddImportsVisitor.add_needed_import(context, origin, name, alias)
    return AddImportsVisitor(context).transform_module(module)


class GapKeeper(cst.CSTTransformer):
    """A transformer whose removed statements leave their blank lines to the next one."""

    def __init__(self) -> None:
        super().__init__()
        self._gap: list[cst.EmptyLine] = []

    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> cst.SimpleStatementLine:
        """Pass the blank lines on."""
        updated_node = self.changed_line(original_node, updated_node)
        blank = [line for line in updated_node.leading_lines if line.comment is None]
        if not updated_node.body:
            self._gap = max(self._gap, blank, key=len)
            return updated_node
        gap, self._gap = self._gap, []
        if len(gap) <= len(blank):
            return updated_node
        return updated_node.with_changes(leading_lines=[*gap[len(blank) :], *updated_node.leading_lines])

    def changed_line(
        self,
        original_node: cst.SimpleStatementLine,  # noqa: ARG002  # for those that override it
        updated_node: cst.SimpleStatementLine,
    ) -> cst.SimpleStatementLine:
        """What becomes of a statement; one without a body is removed."""
        return updated_node


def names_used(node: cst.CSTNode) -> Counter[str]:
    """How often each name stands in it; in annotations that are texts as well."""
    counter = _NameCounter()
    node.visit(counter)
    return counter.names


def without_unused(
    before: cst.Module, after: cst.Module, *, used_elsewhere: Callable[[str], bool] = lambda _name: False
) -> cst.Module:
    """The changed module without what only the change has made unused.

    Args:
        before: the module as it was.
        after: as it is now.
        used_elsewhere: whether another module refers to a name of this one.
    """
    orphans = set(names_used(before)) - set(names_used(after))
    while True:
        cleaned = after.visit(_Sweep(after, orphans, used_elsewhere))
        assert isinstance(cleaned, cst.Module)  # noqa: S101  # a module stays one
        more = set(names_used(after)) - set(names_used(cleaned))
        if cleaned.deep_equals(after):
            return cleaned
        after, orphans = cleaned, orphans | more


class _NameCounter(cst.CSTVisitor):
    """Counts names, but not those by which something is defined or imported."""

    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()

    def visit_Name(self, node: cst.Name) -> None:
        self.names[node.value] += 1

    def visit_SimpleString(self, node: cst.SimpleString) -> None:
        text = node.evaluated_value
        if isinstance(text, str) and text.isidentifier():
            self.names[text] += 1

    def visit_Attribute(self, node: cst.Attribute) -> bool:
        node.value.visit(self)
        return False

    def visit_Import(self, node: cst.Import) -> bool:  # noqa: ARG002  # libcst's own name
        return False

    def visit_ImportFrom(self, node: cst.ImportFrom) -> bool:  # noqa: ARG002  # libcst's own name
        return False

    def visit_FunctionDef(self, node: cst.FunctionDef) -> bool:
        for part in (node.params, node.returns, node.body, *node.decorators):
            if part is not None:
                part.visit(self)
        return False

    def visit_ClassDef(self, node: cst.ClassDef) -> bool:
        for part in (*node.bases, *node.keywords, node.body, *node.decorators):
            part.visit(self)
        return False

    def visit_AssignTarget(self, node: cst.AssignTarget) -> bool:
        return not isinstance(node.target, cst.Name)

    def visit_AnnAssign(self, node: cst.AnnAssign) -> bool:
        node.annotation.visit(self)
        if node.value is not None:
            node.value.visit(self)
        return False


class _Sweep(GapKeeper):
    """Removes what has become unused, from the outermost level of a module."""

    def __init__(self, module: cst.Module, orphans: set[str], used_elsewhere: Callable[[str], bool]) -> None:
        super().__init__()
        self._used = names_used(module)
        self._orphans = orphans
        self._used_elsewhere = used_elsewhere
        self._depth = 0

    def _is_over(self, name: str) -> bool:
        return name in self._orphans and not self._used[name]

    def _is_over_here(self, name: str) -> bool:
        return self._depth == 0 and self._is_over(name) and name.startswith("_") and not self._used_elsewhere(name)

    def visit_FunctionDef(self, node: cst.FunctionDef) -> None:  # noqa: ARG002  # libcst's own name
        self._depth += 1

    def leave_FunctionDef(
        self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef
    ) -> cst.FunctionDef | cst.RemovalSentinel:
        self._depth -= 1
        return cst.RemoveFromParent() if self._is_over_here(original_node.name.value) else updated_node

    def visit_ClassDef(self, node: cst.ClassDef) -> None:  # noqa: ARG002  # libcst's own name
        self._depth += 1

    def leave_ClassDef(
        self, original_node: cst.ClassDef, updated_node: cst.ClassDef
    ) -> cst.ClassDef | cst.RemovalSentinel:
        self._depth -= 1
        return cst.RemoveFromParent() if self._is_over_here(original_node.name.value) else updated_node

    def leave_Assign(self, original_node: cst.Assign, updated_node: cst.Assign) -> cst.Assign | cst.RemovalSentinel:
        names = [each.target.value for each in original_node.targets if isinstance(each.target, cst.Name)]
        over = len(names) == len(original_node.targets) and all(map(self._is_over_here, names))
        return cst.RemoveFromParent() if over else updated_node

    def leave_ImportFrom(
        self, original_node: cst.ImportFrom, updated_node: cst.ImportFrom
    ) -> cst.ImportFrom | cst.RemovalSentinel:
        if isinstance(original_node.names, cst.ImportStar):
            return updated_node
        return _pruned(updated_node, [each for each in original_node.names if not self._is_over(_bound(each))])

    def leave_Import(self, original_node: cst.Import, updated_node: cst.Import) -> cst.Import | cst.RemovalSentinel:
        return _pruned(updated_node, [each for each in original_node.names if not self._is_over(_bound(each))])


def _bound(alias: cst.ImportAlias) -> str:
    return alias.evaluated_alias or alias.evaluated_name.partition(".")[0]


def _pruned(node: _Import, kept: list[cst.ImportAlias]) -> _Import | cst.RemovalSentinel:
    if not kept:
        return cst.RemoveFromParent()
    if isinstance(node.names, cst.ImportStar) or len(kept) == len(node.names):
        return node
    return node.with_changes(names=[*kept[:-1], kept[-1].with_changes(comma=node.names[-1].comma)])
