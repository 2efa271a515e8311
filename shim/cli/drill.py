"""`shim drill`: a candidate goes wrong on purpose; how soon does legacy serve again?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from shim.application import Application
from shim.cli.errors import CommandError
from shim.cli.exits import ExitCode
from shim.cli.finding import application
from shim.cli.output import note, print_json, say
from shim.drill import DrillPlan, Workloads, own_workload, run_drill
from shim.drill_history import DrillHistory, DrillResult
from shim.faults import DrillFault


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillChoice:
    """What is tried; see `shim.drill.DrillPlan`."""

    fault: str
    percent: int
    severity: int
    on_server: bool


def run(name: str | None, choice: DrillChoice, *, as_json: bool) -> int:
    """Carry out a drill, keep it in the history, and end well only if legacy serves again.

    Raises:
        CommandError: no such migration is declared.
        ShimError: the drill could not be carried out.
    """
    app = application()
    if name is None:
        raise CommandError(f"say which migration: {', '.join(app.names())}", ExitCode.USAGE)
    _check(name, app)
    plan = DrillPlan(
        migration=name,
        fault=DrillFault(choice.fault),
        percent=choice.percent,
        severity=choice.severity,
        on_server=choice.on_server,
    )
    with _told() as progress:
        result = run_drill(plan, app, workload=_workloads(app), progress=progress)
    _history().add(result)
    if as_json:
        print_json({"ok": result.ok, **asdict(result)})
    else:
        _print(result)
    return ExitCode.OK if result.ok else ExitCode.FAILED


def show_history(name: str | None, *, as_json: bool) -> int:
    """List the drills, newest first."""
    app = application()
    if name is not None:
        _check(name, app)
    drills = _history().drills(name)
    if as_json:
        print_json([{"ok": drill.ok, **asdict(drill)} for drill in drills])
    elif drills:
        Console(highlight=False).print(_table(drills))
    else:
        say(f"There was no drill yet; `shim drill {name or next(iter(app.names()), 'NAME')}` is one.")
    return ExitCode.OK


def _check(name: str, app: Application) -> None:
    names = app.names()
    if name not in names:
        raise CommandError(f"no migration is called {name!r}; there are {', '.join(names)}", ExitCode.USAGE)


def _workloads(app: Application) -> Workloads:
    """What the application calls in a drill, or else the drill's own function."""
    hooks = (extension.workloads for extension in app.extensions if extension.workloads is not None)
    return next((hook() for hook in hooks), own_workload)


def _history() -> DrillHistory:
    return DrillHistory(application().settings().shim_home / "drills.jsonl")


@contextmanager
def _told() -> Iterator[Callable[[str], object]]:
    """Says what is going on: beside a spinner, or in a line where there is no terminal."""
    console = Console(stderr=True, highlight=False)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("")

        def told(what: str) -> None:
            if console.is_terminal:
                progress.update(task, description=what)
            else:
                note(what)

        yield told


def _print(result: DrillResult) -> None:
    say(result.sentence)
    rows = {
        "calls meanwhile": f"{result.calls}, of which {result.misrouted} were misrouted and {result.failed} failed",
        "the guard decided": _seconds(result.decided),
        "last misrouted call begun": _seconds(result.last_begun),
        "last misrouted call ended": _seconds(result.last_ended),
        "begun after the decision": str(result.begun_later),
        "the flag was off": _seconds(result.flag_off),
        "served by legacy since": f"{result.legacy_after} in a row",
    }
    table = Table(box=None, show_header=False, pad_edge=False)
    for title, value in rows.items():
        table.add_row(title, value)
    Console(highlight=False).print(table)
    say("(seconds since the first misrouted call began)")
    verdict = "Legacy serves again." if result.ok else "Legacy does NOT serve as it should."
    say(f"{verdict} ({result.seconds:.0f} s in all; flags were in {result.flags})")


def _table(drills: Sequence[DrillResult]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("when", "migration", "fault", "share", "misrouted", "decided", "last misrouted", "flag off", ""):
        table.add_column(title, no_wrap=title == "when")
    for drill in drills:
        table.add_row(
            datetime.fromtimestamp(drill.at).astimezone().isoformat(" ", "seconds")[:19],
            drill.migration,
            drill.fault,
            f"{drill.percent} %",
            f"{drill.misrouted} of {drill.calls}",
            _seconds(drill.decided),
            _seconds(drill.last_begun),
            _seconds(drill.flag_off),
            Text("ok", "green") if drill.ok else Text("failed", "red"),
        )
    return table


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.2f} s"
