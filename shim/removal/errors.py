"""The errors of this room, one tree."""

from __future__ import annotations

from tools.errors import ToolsError


class RemovalError(ToolsError):
    """A migration cannot be looked for, or be removed; the text says why and what to do."""


class UnknownMigrationError(RemovalError):
    """No migration has this name."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        super().__init__(f"no migration is called {name!r}; there are {', '.join(known) or 'none'}")


class DeclarationsNotFoundError(RemovalError):
    """The mapping of migrations cannot be imported."""

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(
            f"{where!r} cannot be used: {problem}; name a mapping of targets to declarations as 'pkg.mod:NAME'"
        )


class SourceError(RemovalError):
    """A source file cannot be read or understood."""

    def __init__(self, path: object, problem: str) -> None:
        super().__init__(f"{path} cannot be used: {problem}")
