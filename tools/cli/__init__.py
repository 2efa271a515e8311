"""The command line. `shim --help` says what there is."""

from tools.cli.app import main

__all__ = ["main"]
