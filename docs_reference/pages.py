"""Which pages there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from docs_reference import commands, configuration, exit_codes, flags_page, rooms, telemetry

PAGES: Mapping[str, Callable[[], str]] = {
    "reference/commands.md": commands.page,
    "reference/configuration.md": configuration.page,
    "reference/exit-codes.md": exit_codes.page,
    "reference/flags.md": flags_page.page,
    "reference/telemetry.md": telemetry.page,
    "rooms.svg": rooms.picture,
}
"""Every generated file below `docs/`, with what writes it."""
