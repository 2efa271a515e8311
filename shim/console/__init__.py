"""The console: one local page on which people see the migrations of this machine, and roll them back."""

from shim.console.access import Access, ConsoleError, new_token
from shim.console.server import Console
from shim.console.state import Sources

__all__ = ["Access", "Console", "ConsoleError", "Sources", "new_token"]
