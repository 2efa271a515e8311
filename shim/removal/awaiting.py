"""Gives callers that await the shim the asynchronous twin instead: `f.aio(...)` becomes `f_async(...)`."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import libcst as cst
from libcst.metadata import CodeRange, PositionProvider

from shim.removal.importing import with_imports
from shim.removal.imports import Origin
from shim.removal.tree import SourceFile
from shim.removal.uses import Use, UseKind


def awaiting(file: SourceFile, uses: Iterable[Use], own: Collection[str]) -> cst.Module:
    """The module with `.aio` replaced where the uses say that the function is awaited.

    Args:
        file: the module.
        uses: what was found in it.
        own: the outermost packages of the tree.
    """
    change = _Awaiting([use for use in uses if use.kind is UseKind.AWAITED])
    changed = file.parsed.visit(change)
    wanted: list[Origin] = [(origin, name, None) for origin, name in sorted(change.imports) if origin != file.module]
    return with_imports(changed, wanted, own)


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
