"""Writes what can be written from the code: docs/reference and the picture of the rooms. `python -m docs_reference`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

GENERATED = "Written from the code by `make docs`; a test fails when it is stale."


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; a bar within a cell is escaped."""
    lines = [header, ["---"] * len(header), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def page(title: str, *parts: str) -> str:
    """A page with a title."""
    return "\n\n".join([f"# {title}", GENERATED, *parts]) + "\n"


def code(text: str) -> str:
    """As code; empty text stays empty."""
    return f"`{text}`" if text else ""
