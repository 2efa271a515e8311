"""The page of exit codes."""

from __future__ import annotations

from docs_reference.markdown import page as a_page
from docs_reference.markdown import table
from shim.cli.conventions import MEANINGS


def page() -> str:
    """Every code with its meaning."""
    return a_page(
        "Exit codes",
        "Of every command of `shim`. What went wrong stands on standard error in one line; results stand on standard output.",
        table(("code", "name", "meaning"), [(str(code.value), code.name, text) for code, text in MEANINGS.items()]),
    )
