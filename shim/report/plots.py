"""The plots of a report, drawn by Plotly in the reader's browser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast

import plotly.graph_objects as go  # type: ignore[import-untyped]  # it has no types

from migration import Side
from migration.guard import FREEZE_AT, ROLLBACK_AT
from shim.console.figures import timeline
from shim.report.findings import NAMES, Findings

COLOURS = {Side.LEGACY: "#8a6d00", Side.CANDIDATE: "#0b62a4"}
"""Told apart by people who see few colours, and on paper."""

HEIGHT = 320
"""Of a plot, pixels."""


def stages(found: Findings) -> go.Figure:
    """Who was to serve, over time, and when something was decided."""
    figure = _figure("Share of the calls, percent")
    at = [_time(share.at) for share in found.shares] + [_time(found.at)]
    for name, colour, values in (
        ("on the new path", COLOURS[Side.CANDIDATE], [share.percent for share in found.shares]),
        ("compared", "#6b6b6b", [share.shadow_percent for share in found.shares]),
    ):
        figure.add_scatter(x=at, y=[*values, *values[-1:]], name=name, line={"shape": "hv", "color": colour})
    for action in sorted({record.action for record in found.records}):
        records = [record for record in found.records if record.action == action]
        figure.add_scatter(
            x=[_time(record.at) for record in records],
            y=[0] * len(records),
            name=action.replace("_", " "),
            mode="markers",
            marker={"symbol": "triangle-up", "size": 12},
            text=[record.sentence for record in records],
            hoverinfo="text+x",
        )
    return figure


def success(found: Findings) -> go.Figure:
    """The share of the calls that succeeded, of both sides."""
    return _both(found, "Succeeded, percent", {"success": ""}, factor=100)


def latency(found: Findings) -> go.Figure:
    """How long calls took, of both sides."""
    return _both(found, "Duration, seconds", {"median": "median", "p99": "99th percentile"})


def verdicts(found: Findings) -> go.Figure:
    """How comparisons ended."""
    figure = _figure("Comparisons")
    names = [name.replace("_", " ") for name in found.verdicts]
    figure.add_bar(x=names, y=list(found.verdicts.values()), marker={"color": COLOURS[Side.CANDIDATE]}, name="")
    return figure


def evidence(found: Findings) -> go.Figure:
    """The evidence against the new path after each bad call, and what it is measured by."""
    figure = _figure("Evidence, to 1 (logarithmic)")
    figure.add_scatter(
        x=[_time(at) for at, _ in found.curve],
        y=[max(value, 1e-3) for _, value in found.curve],
        name="evidence",
        line={"color": COLOURS[Side.CANDIDATE]},
    )
    for value, word in ((FREEZE_AT, "freeze"), (ROLLBACK_AT, "roll back")):
        ends = [_time(at) for at, _ in (*found.curve[:1], *found.curve[-1:])]
        line = {"dash": "dash", "color": "#a02020" if value == ROLLBACK_AT else "#c07000"}
        figure.add_scatter(x=ends, y=[value] * len(ends), name=f"{word} at {value:g}", mode="lines", line=line)
    figure.update_yaxes(type="log")
    return figure


def _both(found: Findings, title: str, lines: Mapping[str, str], *, factor: float = 1.0) -> go.Figure:
    """Lines of both sides, from the first call on."""
    figure = _figure(title)
    start = found.calls[0].at if found.calls else found.since
    over_time = timeline(found.calls, start=start, window=max(1.0, found.at - start))
    at = [_time(each) for each in cast("Sequence[float]", over_time["at"])]
    for side in Side:
        figures = cast("Mapping[str, Sequence[float | None]]", over_time[side.value])
        for number, (key, word) in enumerate(lines.items()):
            figure.add_scatter(
                x=at,
                y=[None if value is None else factor * value for value in figures[key]],
                name=f"{NAMES[side]} {word}".strip(),
                mode="lines+markers",
                marker={"size": 4},
                line={"color": COLOURS[side], "dash": "dot" if number else "solid"},
                connectgaps=False,
            )
    return figure


def _figure(title: str) -> Any:
    layout = {
        "height": HEIGHT,
        "margin": {"l": 60, "r": 20, "t": 20, "b": 80},
        "template": "plotly_white",
        "legend": {"orientation": "h", "y": -0.25},
        "yaxis": {"title": {"text": title}, "rangemode": "tozero"},
    }
    return go.Figure(layout=layout)


def _time(at: float) -> datetime:
    return datetime.fromtimestamp(at, tz=UTC)
