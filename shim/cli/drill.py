"""`shim drill`: a candidate goes wrong on purpose; how soon does legacy serve again?"""

# ruff: noqa: PLC0415  # what is heavy is imported when the command runs, so that help is quick

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console, RenderableType
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from shim.application import Application
from shim.cli.conventions import CommandError, ExitCode, JsonOption
from shim.cli.finding import application, known
from shim.cli.output import finish, local_time, note, plain_table
from shim.faults import DrillFault

if TYPE_CHECKING:
    from shim.drill import Workloads
    from shim.drill_history import DrillHistory, DrillResult


def drill(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Name of the migration.")] = None,
    *,
    fault: Annotated[DrillFault, typer.Option(help="What goes wrong.")] = DrillFault.ERROR,
    percent: Annotated[int, typer.Option(min=1, max=50, help="Share of the calls that the candidate gets.")] = 10,
    severity: Annotated[int, typer.Option(min=1, max=100, metavar="PERCENT", help="How many of these go wrong.")] = 100,
    on_server: Annotated[
        bool, typer.Option("--on-server", help="Steer by the configured Unleash server, with flags of the drill's own.")
    ] = False,
    history: Annotated[bool, typer.Option("--history", help="List the drills so far instead.")] = False,
    json: JsonOption = False,
) -> int:
    """Let a candidate go wrong on purpose, and time the way back. Measures how soon legacy serves again."""
    from shim.drill import DrillPlan, run_drill

    app = application()
    if history:
        return _show_history(None if name is None else known(name), app, as_json=json)
    if name is None:
        raise CommandError(f"say which migration: {', '.join(app.names())}", ExitCode.USAGE)
    plan = DrillPlan(
        migration=known(name),
        fault=fault,
        percent=percent,
        severity=severity,
        on_server=on_server,
    )
    with _told() as progress:
        result = run_drill(plan, app, workload=_workloads(app), progress=progress)
    _history(app).add(result)
    code = ExitCode.OK if result.ok else ExitCode.FAILED
    return finish({"ok": result.ok, **asdict(result)}, *_shown(result), as_json=json, code=code)


def _show_history(name: str | None, app: Application, *, as_json: bool) -> int:
    """List the drills, newest first."""
    drills = _history(app).drills(name)
    none = f"There was no drill yet; `shim drill {name or next(iter(app.names()), 'NAME')}` is one."
    document = [{"ok": drill.ok, **asdict(drill)} for drill in drills]
    return finish(document, _table(drills) if drills else none, as_json=as_json)


def _workloads(app: Application) -> Workloads:
    """What the application calls in a drill, or else the drill's own function."""
    from shim.drill import own_workload

    hooks = (extension.workloads for extension in app.extensions if extension.workloads is not None)
    return next((hook() for hook in hooks), own_workload)


def _history(app: Application) -> DrillHistory:
    from shim.drill_history import DrillHistory

    return DrillHistory(app.settings().shim_home / "drills.jsonl")


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


def _shown(result: DrillResult) -> Sequence[RenderableType]:
    rows = {
        "calls meanwhile": f"{result.calls}, of which {result.misrouted} were misrouted and {result.failed} failed",
        "the guard decided": _seconds(result.decided),
        "last misrouted call begun": _seconds(result.last_begun),
        "last misrouted call ended": _seconds(result.last_ended),
        "begun after the decision": str(result.begun_later),
        "the flag was off": _seconds(result.flag_off),
        "served by legacy since": f"{result.legacy_after} in a row",
    }
    verdict = "Legacy serves again." if result.ok else "Legacy does NOT serve as it should."
    return (
        result.sentence,
        plain_table(("", ""), rows.items()),
        "(seconds since the first misrouted call began)",
        f"{verdict} ({result.seconds:.0f} s in all; flags were in {result.flags})",
    )


def _table(drills: Sequence[DrillResult]) -> Table:
    titles = ("when", "migration", "fault", "share", "misrouted", "decided", "last misrouted", "flag off", "")
    rows = [
        (
            local_time(drill.at),
            drill.migration,
            drill.fault,
            f"{drill.percent} %",
            f"{drill.misrouted} of {drill.calls}",
            _seconds(drill.decided),
            _seconds(drill.last_begun),
            _seconds(drill.flag_off),
            Text("ok", "green") if drill.ok else Text("failed", "red"),
        )
        for drill in drills
    ]
    return plain_table(titles, rows, whole=("when",))


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.2f} s"
