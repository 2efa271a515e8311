"""When the candidate was last changed: what was compared before says nothing about what runs today."""

from __future__ import annotations

from collections.abc import Iterable

from shim.removal.imports import closure
from shim.removal.tree import SourceFile, SourceTree


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
