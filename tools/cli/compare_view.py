"""How the results of `shim compare` look at a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from migration import Side
from migration.model import Difference
from migration.store import MISMATCHES, NOT_COMPARED, ONE_SIDED, symptoms
from shim.cli.mismatches_view import shortened
from shim.cli.output import printable
from tools.cli.compare_session import Job, Result

MAX_AGREEING = 30
"""With more rows than this, those in which nothing differs are only counted."""

_MAX_DIFFERENCES = 8
_NAME_LENGTH, _VALUE_LENGTH = 36, 100


def results_view(results: Sequence[Result], seconds: float) -> RenderableType:
    """A row for each call with the verdicts for either side serving, then what differs, then the sum."""
    rows: dict[int, dict[Side, Result]] = {}
    for result in results:
        rows.setdefault(id(result.job), {})[result.served] = result
    shown = [row for row in rows.values() if len(rows) <= MAX_AGREEING or not _agrees(row)]
    entrances = len({_job(row).entrance for row in rows.values()}) > 1
    parts: list[RenderableType] = [_verdicts(shown, entrances=entrances)] if shown else []
    for row in shown:
        if not _agrees(row):
            parts += [Text(""), *_differing(row)]
    return Group(*parts, *([Text("")] if parts else []), _sum(results, len(rows) - len(shown), seconds))


def _agrees(row: Mapping[Side, Result]) -> bool:
    return not any(result.verdict in {*MISMATCHES, *NOT_COMPARED} for result in row.values())


def _verdicts(rows: Sequence[Mapping[Side, Result]], *, entrances: bool) -> Table:
    table = _table()
    table.add_column("file", overflow="fold")
    for column in ("provider", *(["entrance"] if entrances else []), "legacy serves", "async serves"):
        table.add_column(column, no_wrap=True)
    for row in rows:
        job = _job(row)
        verdicts = (Text(row[side].verdict, _style(row[side].verdict)) for side in Side)
        entrance = [str(job.entrance)] if entrances else []
        table.add_row(Text(shortened(printable(job.label), _NAME_LENGTH)), job.provider, *entrance, *verdicts)
    return table


def _differing(row: Mapping[Side, Result]) -> list[RenderableType]:
    """What differs in one call; said once if it is the same whichever side serves."""
    job = _job(row)
    parts: list[RenderableType] = []
    said: list[tuple[str, str, Sequence[Difference]]] = []
    for side, result in row.items():
        what = (result.verdict, result.detail, result.differences)
        if what in said or (result.verdict not in {*MISMATCHES, *NOT_COMPARED}):
            continue
        said.append(what)
        both = len(row) > 1 and all((each.verdict, each.detail, each.differences) == what for each in row.values())
        head = Text(f"{printable(job.label)} to {job.provider} ", "bold")
        head.append(result.verdict, _style(result.verdict))
        head.append("" if both else f" when {_SIDES[side]} serves")
        parts += [head, Padding(_details(result), (0, 0, 0, 2))]
    return parts


def _details(result: Result) -> RenderableType:
    table = _table()
    table.add_column("field", no_wrap=True)
    for label in _SIDES.values():
        table.add_column(label, overflow="fold")
    found = symptoms(result.verdict, result.differences) if result.verdict in ONE_SIDED else result.differences
    for each in found[:_MAX_DIFFERENCES]:
        values = (each.field, shortened(each.legacy, _VALUE_LENGTH), shortened(each.candidate, _VALUE_LENGTH))
        table.add_row(*(Text(printable(value)) for value in values))
    parts: list[RenderableType] = [Text(printable(result.detail))] if result.detail else []
    if result.differences:
        parts.append(table)
    others = len(found) - _MAX_DIFFERENCES
    if others > 0:
        parts.append(Text(f"and {others} more fields; --json shows all", "dim"))
    return Group(*parts)


def _sum(results: Sequence[Result], hidden: int, seconds: float) -> Text:
    counts = Counter(result.verdict for result in results)
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
    well = not any(verdict in {*MISMATCHES, *NOT_COMPARED} for verdict in counts)
    text = Text(f"{len(results)} comparisons: {verdicts} ({seconds:.1f} s)", "bold green" if well else "bold red")
    if hidden:
        text.append(f"; {hidden} calls in which nothing differs are not listed", "dim")
    return text


_SIDES = {Side.LEGACY: "legacy", Side.CANDIDATE: "async"}


def _job(row: Mapping[Side, Result]) -> Job:
    return next(iter(row.values())).job


def _table() -> Table:
    return Table(box=None, header_style="dim", padding=(0, 2, 0, 0))


def _style(verdict: str) -> str:
    return "red" if verdict in MISMATCHES else "yellow" if verdict in NOT_COMPARED else "green"
