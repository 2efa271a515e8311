"""The console: one local page on which people see the migrations of this machine, and roll them back."""

from tools.console.access import Access, new_token
from tools.console.errors import ConsoleError
from tools.console.server import Console
from tools.console.sources import Sources

__all__ = ["Access", "Console", "ConsoleError", "Sources", "new_token"]
