"""`python -m docs_reference` writes the pages; with `--check` it only says which are stale, and ends with 1 if any is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from docs_reference.commands import commands_page, exit_codes_page
from docs_reference.configuration import configuration_page, flags_page
from docs_reference.rooms import picture
from docs_reference.telemetry import telemetry_page

DOCS = Path(__file__).parents[1] / "docs"

PAGES: Mapping[str, Callable[[], str]] = {
    "reference/commands.md": commands_page,
    "reference/configuration.md": configuration_page,
    "reference/exit-codes.md": exit_codes_page,
    "reference/flags.md": flags_page,
    "reference/telemetry.md": telemetry_page,
    "rooms.svg": picture,
}
"""Every generated file below `docs/`, with what writes it."""


def stale() -> list[str]:
    """The pages that are not what the code says, from `docs/`."""
    return [name for name, page in PAGES.items() if not (DOCS / name).exists() or (DOCS / name).read_text() != page()]


def main() -> int:
    """Write, or check."""
    names = stale()
    if "--check" in sys.argv[1:]:
        sys.stdout.writelines(f"docs/{name} is stale: run `make docs`\n" for name in names)
        return 1 if names else 0
    for name in names:
        path = DOCS / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(PAGES[name]())
        sys.stdout.write(f"docs/{name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
