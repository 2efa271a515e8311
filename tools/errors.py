"""The errors of the monolith's side, one tree.

The public upload functions raise what they always raised (`ValueError`, `RuntimeError`); the errors here are
raised below them and by what is new, and are the cause of those.
"""

from __future__ import annotations

from shim.errors import ConfigurationError, ShimError

__all__ = ["ConfigurationError", "MissingKeyError", "NothingSentError", "ToolsError", "UnknownProviderError"]


class ToolsError(ShimError):
    """Base of every error that this package defines."""


class NothingSentError(ToolsError):
    """An upload failed in a way which proves that nothing of it left this machine."""


class MissingKeyError(ToolsError):
    """A provider is used for which no key is configured."""

    def __init__(self, variable: str) -> None:
        self.variable = variable
        super().__init__(f"{variable} is not set")


class UnknownProviderError(ToolsError, LookupError):
    """A provider is named that is not registered.

    Attributes:
        name: as it was given.
        known: the names that could have been given.
    """

    exit_code = 2

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        self.name = name
        self.known = known
        super().__init__(f"{name!r} is no provider: choose one of {', '.join(known)}")
