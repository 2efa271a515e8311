"""The console: one local page that shows the migrations of this machine, and rolls them back."""

from shim.console.access import Access, ConsoleError, new_token
from shim.console.server import Console
from shim.console.state import ConsoleSources

__all__ = ["Access", "Console", "ConsoleError", "ConsoleSources", "new_token"]
