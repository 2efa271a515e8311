"""What a person sees while the benchmark runs, and the table at its end."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from bench.harness import Contender, Row
from bench.phrases import bound, goal_subject, goal_text, shown_spread, verdict
from bench.results import Results, RowResult

_WIDTH = 160
"""Of the table, where there is no terminal."""

_STYLES = {True: "green", False: "red", None: "yellow"}


class View:
    """Shows progress on standard error; implements `bench.competition.Reporter`."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._task: TaskID | None = None
        self._began = 0.0
        self.progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def began(self, row: Row, runs: int) -> None:
        """Begin a bar."""
        if self._task is not None:
            self.progress.remove_task(self._task)
        self._task = self.progress.add_task(row.title, total=runs)
        self._began = time.monotonic()

    def running(self, row: Row, contender: Contender) -> None:
        """Name who runs, and move the bar."""
        if self._task is not None:
            self.progress.update(self._task, description=f"{row.title}: {contender.name}", advance=1)

    def ended(self, result: RowResult) -> None:
        """Print what became of the row."""
        self._say(f"{result.name}: {result.title} ({time.monotonic() - self._began:.0f} s)", "bold")
        for contender in result.contenders:
            if contender.failure:
                self._say(f"  {contender.name}: disqualified: {contender.failure}", "red")
        for goal in result.goals:
            self._say(f"  {goal_text(goal.goal, result)}: {verdict(goal)}", _STYLES[goal.reached])

    def _say(self, text: str, style: str) -> None:
        self._console.print(text, style=style, markup=False, soft_wrap=True)


def print_goals(results: Results) -> None:
    """All goals in one table, on standard output."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDTH)
    table = Table(title="Ratios of one interleaved run: median (quartiles)" if not results.quick else "A quick run")
    for column in ("work", "what", "goal", "measured", ""):
        table.add_column(column, overflow="fold")
    for row in results.rows:
        for goal in row.goals:
            told = (goal_subject(goal.goal, row), bound(goal.goal), shown_spread(goal), verdict(goal, short=True))
            table.add_row(row.title, *map(Text, told), style=_STYLES[goal.reached])
    console.print(table)
