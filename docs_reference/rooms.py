"""The picture of the rooms: who may know whom."""

from __future__ import annotations

from dataclasses import dataclass

WIDTH, HEIGHT = 960, 610
_HEAD, _LINE, _PAD = 28, 21, 14

_STYLE = (
    ".bg{fill:#fff}.r{stroke:#334155;stroke-width:1.5}.a{fill:#e0f2fe}.b{fill:#f0fdf4}.c{fill:#fef9c3}.d{fill:#ede9fe}"
    ".e{fill:#ffe4e6}.t{font-size:15px;font-weight:600;fill:#0f172a}.l{font-size:12.5px;fill:#334155}"
    ".n{fill:none;stroke:#475569;stroke-width:1.6}.k{font-size:12px;fill:#475569}"
    "@media (prefers-color-scheme:dark){.bg{fill:#0f172a}.r{stroke:#94a3b8}.a{fill:#0c4a6e}.b{fill:#14532d}"
    ".c{fill:#713f12}.d{fill:#4c1d95}.e{fill:#881337}.t{fill:#f8fafc}.l,.k{fill:#cbd5e1}.n{stroke:#94a3b8}}"
)
_OPEN = (
    f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="system-ui, sans-serif" '
    'role="img" aria-label="The rooms of the project; arrows point from who knows to who is known">'
)
_MARKER = (
    '<defs><marker id="h" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" '
    'orient="auto-start-reverse"><path d="M0 0L10 5L0 10z" fill="#64748b"/></marker></defs>'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A group of rooms.

    Attributes:
        x, y, width: where it stands; its height follows from its lines.
        colour: class of the style.
        title: its name.
        lines: the rooms in it, and what they are.
    """

    x: int
    y: int
    width: int
    colour: str
    title: str
    lines: tuple[str, ...]

    @property
    def height(self) -> int:
        """Of all lines."""
        return _HEAD + _LINE * len(self.lines) + _PAD

    def drawn(self) -> str:
        """The box and its text."""
        left = self.x + _PAD
        texts = [f'<text class="t" x="{left}" y="{self.y + _HEAD}">{self.title}</text>']
        texts += [
            f'<text class="l" x="{left}" y="{self.y + _HEAD + _LINE * number}">{line}</text>'
            for number, line in enumerate(self.lines, 1)
        ]
        rectangle = f'<rect class="r {self.colour}" x="{self.x}" y="{self.y}" width="{self.width}" height="{self.height}" rx="8"/>'
        return "\n".join([rectangle, *texts])


BOXES = (
    Box(
        x=20,
        y=20,
        width=440,
        colour="c",
        title="what people use",
        lines=(
            "cli, demo: the command line",
            "console, report: the page, live or kept",
            "mcp_server: for assistants",
            "bench: benchmarks",
        ),
    ),
    Box(
        x=500,
        y=20,
        width=440,
        colour="c",
        title="wiring",
        lines=(
            "composition: the only place that wires everything",
            "settings: the only place that reads the environment",
        ),
    ),
    Box(
        x=20,
        y=190,
        width=290,
        colour="a",
        title="tools: the monolith",
        lines=(
            "smart_file_query: the caller",
            "providers: legacy, synchronous",
            "engine: new, asynchronous",
            "storage, journal: what is kept",
            "wire, process metrics: what is seen",
            "sandbox: stand-ins of the services",
        ),
    ),
    Box(
        x=340,
        y=190,
        width=320,
        colour="b",
        title="tools: around the migrations",
        lines=(
            "migrations: what is declared",
            "replay, live: how the other side runs",
            "audit, reconcile: what was uploaded",
            "drill: going wrong on purpose",
            "removal: the end of a migration",
        ),
    ),
    Box(
        x=690,
        y=190,
        width=250,
        colour="e",
        title="flags",
        lines=("Unleash: server or file", "implements Router"),
    ),
    Box(
        x=690,
        y=300,
        width=250,
        colour="e",
        title="observability",
        lines=("OpenTelemetry", "implements Observer"),
    ),
    Box(
        x=340,
        y=430,
        width=600,
        colour="d",
        title="migration: the core",
        lines=(
            "one decision a call; one policy, two drivers; shadow, comparison, ledger",
            "migration/guard: evidence, rollback, rollout; a router before the router",
            "migration/testing: a pytest plugin, fakes",
            "knows only the standard library",
        ),
    ),
)
"""Every room, in a group."""

ARROWS = (
    "M240 146 L240 190",
    "M460 60 L500 60",
    "M600 104 L600 190",
    "M780 104 L780 190",
    "M676 104 L676 340 L690 340",
    "M940 230 L950 230 L950 480 L940 480",
    "M340 250 L310 250",
    "M500 337 L500 430",
    "M770 384 L770 430",
)
"""From who knows to who is known."""


def picture() -> str:
    """The picture as SVG, for light and dark."""
    arrows = [f'<path class="n" marker-end="url(#h)" d="{each}"/>' for each in ARROWS]
    note = "An arrow points from a room to one that it knows. The library imports only the standard library; flags and observability never meet."
    return "\n".join(
        [
            _OPEN,
            f"<style>{_STYLE}</style>",
            _MARKER,
            f'<rect class="bg" width="{WIDTH}" height="{HEIGHT}"/>',
            *arrows,
            *(box.drawn() for box in BOXES),
            f'<text class="k" x="20" y="{HEIGHT - 22}">{note}</text>',
            "</svg>\n",
        ]
    )
