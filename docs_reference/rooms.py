"""The picture of the rooms: zones from top to bottom; each imports only what is below it."""

from __future__ import annotations

from typing import Final

WIDTH: Final = 960
_MARGIN, _GAP, _HEAD, _LINE = 20, 26, 30, 20
_COLUMNS: Final = 3

_STYLE = (
    ".bg{fill:#fff}.z{stroke:#334155;stroke-width:1.5}.tools{fill:#f0fdf4}.shim{fill:#fef9c3}.ports{fill:#ffe4e6}"
    ".migration{fill:#e0f2fe}.t{font-size:15px;font-weight:600;fill:#0f172a}.r{font-size:13px;font-weight:600;fill:#0f172a}"
    ".w{font-size:12.5px;fill:#334155}.n{fill:none;stroke:#475569;stroke-width:1.6}"
    "@media (prefers-color-scheme:dark){.bg{fill:#0f172a}.z{stroke:#94a3b8}.tools{fill:#14532d}.shim{fill:#713f12}"
    ".ports{fill:#881337}.migration{fill:#0c4a6e}.t,.r{fill:#f8fafc}.w{fill:#cbd5e1}.n{stroke:#94a3b8}}"
)
_MARKER = (
    '<defs><marker id="h" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" '
    'orient="auto-start-reverse"><path d="M0 0L10 5L0 10z" fill="#64748b"/></marker></defs>'
)

ZONES: Final[tuple[tuple[str, str, tuple[tuple[str, str], ...]], ...]] = (
    (
        "tools",
        "tools: the monolith, an application that uses the product",
        (
            ("cli, demo", "commands of its own"),
            ("migrations", "what replaces what"),
            ("shadowing", "comparing uploads"),
            ("recovery", "what is at the services"),
            ("smart_file_query", "the caller"),
            ("engine", "the new upload, asynchronous"),
            ("providers", "the legacy uploads, one spec each"),
            ("journal", "durable before a byte leaves"),
            ("storage", "copies and rows"),
            ("transport", "pooled HTTP, files as bodies"),
            ("sandbox", "stand-ins on the loopback"),
        ),
    ),
    (
        "shim",
        "shim: the product, for every declared migration",
        (
            ("application", "wiring: start and stop"),
            ("settings", "SHIM_*, UNLEASH_*, SHADOW_*"),
            ("cli", "one file a command"),
            ("console, report, drill", "pages, and a trial of the guard"),
            ("process_metrics", "what each process samples"),
            ("http", "recording, replay, egress policy"),
            ("removal", "callers, readiness, the patch"),
            ("mcp", "tools for assistants"),
        ),
    ),
    (
        "ports",
        "flags and observability: the library's ports, implemented",
        (("flags", "Unleash behind Router"), ("observability", "OpenTelemetry behind Observer")),
    ),
    (
        "migration",
        "migration: the library, on the standard library alone",
        (
            ("migration/routing", "the callable, install, runtime"),
            ("migration/shadow", "running and comparing both sides"),
            ("migration/running", "background loop, calls in flight"),
            ("migration/guard", "watches both sides, rolls back"),
            ("migration/rollout", "stages on evidence"),
            ("migration/store", "one SQLite file, the ledger"),
            ("migration/model", "call, decision, declaration, ports"),
            ("migration/testing", "fakes, the pytest plugin"),
        ),
    ),
)
"""Each zone: its colour, its title, and its rooms with what happens there."""


def picture() -> str:
    """The picture as SVG, for light and dark."""
    parts, top = [], _MARGIN
    for colour, title, rooms in ZONES:
        drawn, height = _zone(top, colour, title, rooms)
        parts += drawn
        top += height + _GAP
        if colour != ZONES[-1][0]:
            parts.append(f'<path class="n" marker-end="url(#h)" d="M{WIDTH // 2} {top - _GAP} V{top}"/>')
    height = top - _GAP + _MARGIN
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="system-ui, sans-serif" '
        'role="img" aria-label="The zones of the project and their rooms; arrows point to what is imported">'
    )
    background = f'<rect class="bg" width="{WIDTH}" height="{height}"/>'
    return "\n".join([head, f"<style>{_STYLE}</style>", _MARKER, background, *parts, "</svg>\n"])


def _zone(top: int, colour: str, title: str, rooms: tuple[tuple[str, str], ...]) -> tuple[list[str], int]:
    """One zone as SVG elements, and its height."""
    rows = -(-len(rooms) // _COLUMNS)
    height = _HEAD + rows * 2 * _LINE + 16
    column = (WIDTH - 2 * _MARGIN - 14) // _COLUMNS
    parts = [
        f'<rect class="z {colour}" x="{_MARGIN}" y="{top}" width="{WIDTH - 2 * _MARGIN}" height="{height}" rx="8"/>',
        f'<text class="t" x="{_MARGIN + 14}" y="{top + 22}">{title}</text>',
    ]
    for number, (room, what) in enumerate(rooms):
        x = _MARGIN + 14 + number % _COLUMNS * column
        y = top + _HEAD + 18 + number // _COLUMNS * 2 * _LINE
        parts.append(f'<text class="r" x="{x}" y="{y}">{room}</text>')
        parts.append(f'<text class="w" x="{x}" y="{y + 16}">{what}</text>')
    return parts, height
