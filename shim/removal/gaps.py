"""Keeps the blank lines between groups of statements when the first of a group goes."""

from __future__ import annotations

import libcst as cst


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
