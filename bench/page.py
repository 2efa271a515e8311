"""The page with the results (ratios first, then absolute figures with the machine named), and what may be quoted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from bench.harness import Figure, NoResultsError
from bench.limits import limits_text
from bench.metering import IDLE
from bench.phrases import bound, figure_name, goal_subject, machine_text, number, shown_spread, verdict
from bench.plots import plot_growth, plot_row
from bench.results import ContenderResult, GrowthResult, Results, RowResult

_HEAD = """\
# How fast

<!-- Made by `make bench` of what it measured; do not edit. -->

Everything here is measured by `make bench` on one machine, against a server on the loopback that throws the files away.
A loopback overstates gains in throughput on a real network; CPU time, memory, stalls and concurrency carry over.

- Contenders take turns, round by round, each run in a fresh process that has imported, connected and sent a tiny file
  before anything counts. A ratio is taken within a round; shown are the **median (first to third quartile)** of those.
- CPU seconds are user and system time of the whole process as the operating system counts them; for curl, those of
  the process less those of one that sends the tiny file only. *curl, started each time* is charged for all of it:
  starting, connecting, the handshake.
- Memory is the peak above what the process held after the tiny file.
- A stall is how late the event loop on which the uploads were started is for a tick each millisecond.
- Each contender has first sent a file to a server that compares it byte by byte; one of whom a byte or a file went
  missing in a measured run is disqualified.
- *legacy* is the synchronous path of this repository, *engine* the asynchronous one, both without storage unless named
  otherwise; *raw socket* is no library but the limit: `sendfile` over plain HTTP, reused pages over TLS.
"""

_QUICK = "\n**This was a quick run. Its figures show that the benchmark works; they are not for quoting.**\n"

_ABSOLUTE = (Figure.RATE, Figure.COST, Figure.MEMORY, Figure.STALL_P99, Figure.STALL_MAX)

PICTURES = "benchmarks"
"""Folder of the plots, beside the page."""


def write_page(results: Results, folder: Path) -> Path:
    """Write `benchmarks.md` and its plots to `folder`, and return its path."""
    pictures = folder / PICTURES
    pictures.mkdir(parents=True, exist_ok=True)
    for old in pictures.glob("*.svg"):
        old.unlink()
    for row in results.rows:
        plot_row(row, pictures / f"{row.name}.svg")
    for growth in results.growths:
        plot_growth(growth, pictures / f"{growth.name}.svg")
    page = folder / "benchmarks.md"
    page.write_text(page_text(results), encoding="utf-8")
    return page


def page_text(results: Results) -> str:
    """The page as Markdown."""
    parts = [_HEAD, _QUICK if results.quick else "", _goals(results), limits_text(results)]
    parts += [_ratios(row) for row in results.rows]
    if results.growths:
        parts.append("\n## How cost grows\n")
        parts += [_growth(growth) for growth in results.growths]
    parts += [_absolute(results), _sink(results)]
    return "".join(parts)


def _goals(results: Results) -> str:
    rows = [
        (row.title, goal_subject(goal.goal, row), bound(goal.goal), shown_spread(goal), verdict(goal, short=True))
        for row in results.rows
        for goal in row.goals
    ]
    if not rows:
        return ""
    return "\n## What was to be reached\n\n" + table(("work", "what", "goal", "measured", ""), rows)


def _ratios(row: RowResult) -> str:
    rounds = "one round" if row.rounds == 1 else f"{row.rounds} rounds"
    head = ("", figure_name(Figure.RATE, row.unit), figure_name(Figure.COST, row.unit))
    rows = [
        (contender.name, *(_ratio(contender, figure) for figure in (Figure.RATE, Figure.COST)))
        for contender in row.contenders
    ]
    return (
        f"\n## {row.title}\n\nAs multiples of {row.reference}, {rounds}:\n\n"
        f"{table(head, rows)}\n![{row.title}]({PICTURES}/{row.name}.svg)\n"
    )


def _growth(growth: GrowthResult) -> str:
    sentences = "".join(f"- {sentence}\n" for sentence in growth.bends)
    return f"\n### {growth.title}\n\n![{growth.title}]({PICTURES}/{growth.name}.svg)\n\n{sentences}"


def _absolute(results: Results) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in sorted(results.machine.versions.items()))
    parts = [f"\n## Absolute figures\n\nMedians, on this machine: {machine_text(results)}.\n\n{versions}.\n"]
    for row in results.rows:
        figures = _shown_figures(row)
        head = ("", *(_column(figure, row.unit) for figure in figures))
        rows = [
            (contender.name, *(_median(contender, figure) for figure in figures))
            for contender in row.contenders
            if contender.failure is None
        ]
        parts.append(f"\n### {row.title}: figures\n\n{table(head, rows)}")
        parts += _idle(row)
    return "".join(parts)


def _idle(row: RowResult) -> Iterator[str]:
    """How much of the stalls is the machine's."""
    names = [f"{IDLE}{figure}" for figure in (Figure.STALL_P99, Figure.STALL_MAX)]
    found = [c.spreads for c in row.contenders if names[0] in c.spreads]
    if found:
        p99, longest = (max(spreads[name].median for spreads in found) for name in names)
        yield (
            f"\nAn idle process beside them was late for its ticks by {number(p99)} ms (99th percentile) and "
            f"{number(longest)} ms (longest), at most.\n"
        )


def _sink(results: Results) -> str:
    """Whether the server was the bottleneck: how busy it was while the fastest contender ran."""
    rows = []
    for row in results.rows:
        able = [contender for contender in row.contenders if "sink_busy" in contender.spreads]
        if able:
            fastest = max(able, key=lambda contender: contender.spreads[Figure.RATE].median)
            rows.append((row.title, fastest.name, f"{fastest.spreads['sink_busy'].median * 100:.0f} %"))
    if not rows:
        return ""
    return (
        "\n## The server was not the bottleneck\n\n"
        "CPU time of the server in percent of the time that the fastest contender of each row took; with one upload at "
        "a time, 100 % would mean that the contender waited for the server.\n\n"
        + table(("work", "fastest", "server busy"), rows)
    )


def _shown_figures(row: RowResult) -> list[str]:
    """Figures that at least one contender has: the usual ones, then those of the row's own."""
    there = {figure for contender in row.contenders for figure in contender.spreads}
    internal = {*Figure, "process_cpu_seconds", "sink_busy", "connections"}
    own = sorted(name for name in there - internal if not name.startswith(IDLE))
    return [*(figure for figure in _ABSOLUTE if figure in there), *own]


def _column(figure: str, unit: str) -> str:
    name = figure_name(figure, unit)
    suffix = {Figure.MEMORY: ", MiB", Figure.STALL_P99: ", ms", Figure.STALL_MAX: ", ms"}
    return f"{name}{suffix.get(Figure(figure), '') if figure in set(Figure) else ''}"


def _ratio(contender: ContenderResult, figure: str) -> str:
    if contender.failure is not None:
        return f"disqualified: {contender.failure}"
    middle = contender.compared.get(figure)
    return f"{number(middle.median)} ({number(middle.q1)} to {number(middle.q3)})" if middle else "-"


def _median(contender: ContenderResult, figure: str) -> str:
    middle = contender.spreads.get(figure)
    return number(middle.median) if middle else "-"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in lines)


# What other documents may quote of a run: ratios, with how they were taken.


def quotation(results: Results) -> str:
    """A paragraph and a table in Markdown.

    Raises:
        NoResultsError: the run was a quick one, or has no goals.
    """
    goals = [(row, goal) for row in results.rows for goal in row.goals if goal.goal.to and goal.spread is not None]
    if results.quick or not goals:
        raise NoResultsError("only a whole run may be quoted; run the benchmark without --quick and --only")
    everything = [goal for row in results.rows for goal in row.goals]
    reached = sum(goal.reached is True for goal in everything)
    rows = [(row.title, goal_subject(goal.goal, row), shown_spread(goal), bound(goal.goal)) for row, goal in goals]
    return (
        f"Ratios within the rounds of one interleaved run ({machine_text(results)}): median (quartiles). "
        f"{reached} of {len(everything)} goals were reached.\n\n"
        f"{table(('work', 'what', 'measured', 'goal'), rows)}"
    )
