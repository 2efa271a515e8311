"""The error of the console."""

from __future__ import annotations

from tools.errors import ToolsError


class ConsoleError(ToolsError):
    """The console cannot be served; the message says why and what to do."""
