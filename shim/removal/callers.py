"""The call sites of a migration: those found in the source matched against those seen at run time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from migration.model import Entrance
from migration.store import SeenCaller
from shim.removal.sources import SourceFile, SourceTree, closure
from shim.removal.uses import Use, UseKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """One place that uses a migrated function.

    Attributes:
        found: where it stands in the source; None if it was only seen at run time.
        seen: how it was called at run time, once for each way; empty if it never was.
    """

    found: Use | None
    seen: tuple[SeenCaller, ...] = ()

    @property
    def entrances(self) -> tuple[Entrance, ...]:
        """In which ways it was called."""
        return tuple(each.entrance for each in self.seen)

    @property
    def blocks(self) -> bool:
        """Whether it holds up an event loop, as far as the source or a run shows."""
        certain = self.found is not None and self.found.blocks and self.found.certain
        return certain or Entrance.BLOCKING in self.entrances

    @property
    def is_hidden_await(self) -> bool:
        """Whether it awaits the function at a place that the source does not show, which no patch can change."""
        return self.found is None and Entrance.AWAITED in self.entrances

    @property
    def last_at(self) -> float | None:
        """When it was last seen, in seconds since the epoch; None if never."""
        return max((each.last_at for each in self.seen), default=None)


def matched(found: Sequence[Use], seen: Sequence[SeenCaller], root: Path) -> list[Caller]:
    """Every call site once, those of the source first.

    A call was seen at a place of the source if it is the same file, and a line of the same expression. A file that
    runs somewhere else than below `root` is the same if its path ends alike.

    Args:
        found: what the source shows; imports are left out, for nothing is called there.
        seen: what the ledger has of it.
        root: the folder of the sources.
    """
    places = [use for use in found if use.kind is not UseKind.IMPORT]
    left = list(seen)
    callers: list[Caller] = []
    for use in places:
        here = tuple(each for each in left if _is_at(each, use, root))
        left = [each for each in left if each not in here]
        callers.append(Caller(found=use, seen=here))
    by_place: dict[tuple[str, int, str], list[SeenCaller]] = {}
    for each in left:
        by_place.setdefault((each.file, each.line, each.function), []).append(each)
    return callers + [Caller(found=None, seen=tuple(each)) for each in by_place.values()]


def _is_at(seen: SeenCaller, use: Use, root: Path) -> bool:
    if seen.function != use.target or not use.line <= seen.line <= use.last_line:
        return False
    return Path(seen.file) == root / use.file or seen.file.endswith(f"/{use.file}")


# When the candidate was last changed: what was compared before says nothing about what runs today.


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
