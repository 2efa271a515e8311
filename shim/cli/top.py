"""`shim top`: what is going on at this moment on this machine, side by side."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from migration import Side
from migration.store import LedgerReader
from shim.cli.exits import ExitCode
from shim.cli.guard_standing import guard_report
from shim.cli.live_view import show_live
from shim.cli.output import print_json, printable
from shim.console.figures import side_figures
from shim.process_metrics import ProcessMetricsReader, ProcessSample
from shim.wiring import decision_now, open_guard_store, open_router
from tools.migrations import NAMES
from tools.settings import MEGABYTE, Settings, get_settings

REFRESH_SECONDS = 1.0

ALIVE_SECONDS = 10.0
"""A process that has written nothing for so long has ended."""

MOST_PROCESSES = 10
"""Processes that are listed, the latest first."""

_LABELS = {Side.LEGACY: "legacy", Side.CANDIDATE: "async"}
_STYLES = {"watching": "green", "rolled back": "red"}

Document = dict[str, Any]


def run(*, window: int, as_json: bool) -> int:
    """Show the last `window` seconds until Ctrl-C; as JSON, or without a terminal, once."""
    settings = get_settings()
    with closing(open_router(settings)) as router:

        def shares(name: str) -> tuple[float, float]:
            decision = decision_now(router, name)
            return 100 * decision.probability, 100 * decision.shadow_probability

        def now() -> Document:
            return _document(settings, {name: shares(name) for name in NAMES}, window)

        if as_json:
            print_json(now())
        else:
            show_live(lambda: _picture(now()), every=REFRESH_SECONDS)
    return ExitCode.OK


def _document(settings: Settings, shares: Mapping[str, tuple[float, float]], window: int) -> Document:
    """The figures of this moment, as plain data."""
    at = time.time()
    metrics, ledger, store = (
        ProcessMetricsReader(settings.shim_db),
        LedgerReader(settings.shim_db),
        open_guard_store(settings),
    )
    migrations = []
    for name in NAMES:
        calls = metrics.calls(name, since=at - window)
        percent, shadow_percent = shares[name]
        migrations.append(
            {
                "migration": name,
                "percentage": percent,
                "shadow_percentage": shadow_percent,
                "guard": guard_report(store, name),
                "sides": {side.value: side_figures([call for call in calls if call.side is side]) for side in Side},
                "verdicts": ledger.verdicts(name, since=at - window),
            }
        )
    return {"at": at, "window": window, "migrations": migrations, "processes": _processes(metrics, at)}


def _processes(metrics: ProcessMetricsReader, at: float) -> Sequence[Document]:
    latest: dict[str, ProcessSample] = {
        sample.process: sample for sample in metrics.processes(since=at - ALIVE_SECONDS)
    }
    found = sorted(latest.values(), key=lambda sample: sample.at, reverse=True)[:MOST_PROCESSES]
    return [
        {
            "process": sample.process,
            "memory": sample.memory,
            "memory_limit": sample.memory_limit,
            "pool_used": sample.pool_used,
            "pool_limit": sample.pool_limit,
            "loop_delay": sample.loop_delay,
        }
        for sample in found
    ]


def _picture(found: Document) -> RenderableType:
    window = found["window"]
    clock = time.strftime("%H:%M:%S", time.localtime(found["at"]))
    parts: list[RenderableType] = [Text(f"{clock}, the last {window} s of this machine; Ctrl-C ends", "dim")]
    for each in found["migrations"]:
        parts += [Text(), _heading(each), _sides(each, window), Text(f"compared: {_counts(each['verdicts'])}")]
    return Group(*parts, Text(), _process_table(found["processes"]))


def _heading(migration: Document) -> Text:
    guard = migration["guard"]
    line = Text(f"{migration['migration']} ", "bold")
    line.append(
        f"async {migration['percentage']:g} %, compared {migration['shadow_percentage']:g} %, guard ", "default"
    )
    line.append(guard["state"], _STYLES.get(guard["state"], "yellow"))
    return line


def _sides(migration: Document, window: int) -> Table:
    table = Table("", *("calls", "ok", "median", "99 %", "MB/s"), box=None, header_style="dim", pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for side in Side:
        figures = migration["sides"][side.value]
        if not figures["calls"]:
            table.add_row(_LABELS[side], "-", "-", "-", "-", "-")
            continue
        table.add_row(
            _LABELS[side],
            str(figures["calls"]),
            Text(f"{100 * figures['success']:.1f} %", "red" if figures["failed"] else "green"),
            f"{1000 * figures['median']:.0f} ms",
            f"{1000 * figures['p99']:.0f} ms",
            f"{figures['bytes'] / MEGABYTE / window:.1f}",
        )
    return table


def _process_table(processes: Sequence[Document]) -> RenderableType:
    if not processes:
        return Text("no process is at work", "dim")
    table = Table("process", "memory", "of", "connections", "loop late", box=None, header_style="dim", pad_edge=False)
    for each in processes:
        table.add_row(
            printable(each["process"]),
            f"{each['memory'] / MEGABYTE:.0f} MB",
            f"{each['memory_limit'] / MEGABYTE:.0f} MB",
            "-" if each["pool_limit"] is None else f"{each['pool_used']} of {each['pool_limit']}",
            "-" if each["loop_delay"] is None else f"{1000 * each['loop_delay']:.0f} ms",
        )
    return table


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items()) or "nothing"
