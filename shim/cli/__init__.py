"""The command line. `shim --help` says what there is."""

from shim.cli.app import main

__all__ = ["main"]
