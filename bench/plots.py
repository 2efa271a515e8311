"""The plots, as SVG without a background, in colours that can be read on a light and on a dark page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture
from matplotlib.ticker import ScalarFormatter

from bench.harness import Curve, Figure
from bench.phrases import figure_name, number
from bench.results import GrowthResult, RowResult, value

_INK = "#7d8590"
_COLOURS = ("#2f81f7", "#db6d28", "#2da44e", "#a371f7", "#bf8700", "#e5534b")
_OWN = _COLOURS[0]
_OTHER = "#8c959f"
_BAR_INCHES = 0.26
_WIDTH_INCHES = 9.0
_PANEL_INCHES = 3.0

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "bench",  # the same figures give the same file
    "font.family": "sans-serif",
    "font.size": 9.0,
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _INK,
    "grid.alpha": 0.25,
}


def plot_row(row: RowResult, path: Path) -> None:
    """Rate and cost of each contender as multiples of the reference's: bars, and their quartiles as whiskers."""
    able = [contender for contender in row.contenders if contender.compared]
    with mpl.rc_context(_STYLE):
        picture = Picture(figsize=(_WIDTH_INCHES, 1.1 + _BAR_INCHES * max(len(able), 1)), layout="constrained")
        left, right = picture.subplots(1, 2, sharey=True)
        for axes, figure, hint in ((left, Figure.RATE, "more is better"), (right, Figure.COST, "less is better")):
            spreads = [contender.compared[figure] for contender in able]
            medians = [spread.median for spread in spreads]
            whiskers = [
                [spread.median - spread.q1 for spread in spreads],
                [spread.q3 - spread.median for spread in spreads],
            ]
            names = [contender.name for contender in able]
            colours = [_OWN if name.startswith(("engine", "shim")) else _OTHER for name in names]
            axes.barh(names, medians, color=colours, xerr=whiskers, error_kw={"ecolor": _INK, "elinewidth": 1})
            for place, spread in enumerate(spreads):
                end = (max(spread.q3, spread.median), place)
                axes.annotate(number(spread.median), end, xytext=(6, 0), textcoords="offset points", va="center")
            axes.axvline(1.0, color=_INK, linewidth=0.8, linestyle=":")
            axes.set_title(f"{figure_name(figure, row.unit)}, {row.reference} = 1 ({hint})", fontsize=9)
            axes.margins(x=0.15)
        left.invert_yaxis()
        _save(picture, path)


def plot_growth(growth: GrowthResult, path: Path) -> None:
    """A panel for each curve."""
    lines = (len(growth.curves) + 1) // 2
    with mpl.rc_context(_STYLE):
        picture = Picture(figsize=(_WIDTH_INCHES, _PANEL_INCHES * lines), layout="constrained")
        for place, curve in enumerate(growth.curves, start=1):
            _draw_curve(picture.add_subplot(lines, 2, place), growth, curve)
        picture.axes[0].legend(frameon=False, labelcolor=_INK)
        _save(picture, path)


def _draw_curve(axes: Axes, growth: GrowthResult, curve: Curve) -> None:
    names = list(dict.fromkeys(contender.name for point in growth.points for contender in point.row.contenders))
    for name, colour in zip(names, _COLOURS, strict=False):
        drawn = [(point.x, height) for point in growth.points if (height := value(point, name, curve)) is not None]
        axes.plot([x for x, _ in drawn], [y for _, y in drawn], marker="o", markersize=3, color=colour, label=name)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.set_xticks([point.x for point in growth.points], minor=False)
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel(growth.x_label)
    axes.set_title(curve.label, fontsize=9)
    axes.grid(visible=True, axis="y")


def _save(picture: Picture, path: Path) -> None:
    picture.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
