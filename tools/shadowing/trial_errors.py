"""What goes wrong when shadows are read back and undone."""

from __future__ import annotations

from tools.errors import ToolsError


class ServiceFailedError(ToolsError):
    """A service did not tell, or did not do, what it was asked, in any attempt."""

    def __init__(self, action: str, problem: str) -> None:
        super().__init__(f"{action}: {problem}")


class NoListingError(ToolsError):
    """A provider does not list its files, so what is there is not known."""
