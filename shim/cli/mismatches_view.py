"""How mismatches look at a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from migration import Side
from migration.shadow import NoiseReport
from migration.store import MISMATCHES, NOT_COMPARED, Cause, DifferenceKind, RecordedComparison
from shim.cli.output import printable

_SHOWN_FIELDS = 4
_VALUE_LENGTH, _ERROR_LENGTH = 28, 120
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_LABELS = {Side.LEGACY: "legacy", Side.CANDIDATE: "async"}
_SAMPLED = ("1", "3")  # the lowest bit of a traceparent's last figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """What the list shows.

    Attributes:
        counts: how many comparisons ended how.
        causes: the groups.
        comparisons: those that are listed one by one instead of the groups.
        limit: how many of either are shown.
        now: the time, in seconds since the epoch.
    """

    counts: Mapping[str, int]
    causes: Sequence[Cause]
    comparisons: Sequence[RecordedComparison]
    limit: int
    now: float


def overview(shown: Overview) -> RenderableType:
    """A line about all comparisons, then the groups, the most frequent first."""
    parts: list[RenderableType] = [_sum(shown.counts)] if shown.counts else []
    if shown.comparisons:
        parts.append(_each(shown))
    else:
        for cause in shown.causes[: shown.limit]:
            parts += [Text(""), _head(cause), Padding(Group(_when(cause, shown.now), _fields(cause)), (0, 0, 0, 2))]
    left_out = len(shown.comparisons or shown.causes) - shown.limit
    if left_out > 0:
        parts.append(Text(f"\nand {left_out} more; `--limit` shows them", "dim"))
    return Group(*parts)


def one_comparison(found: RecordedComparison, *, now: float) -> RenderableType:
    """Everything that is known of one comparison."""
    facts = Table.grid(padding=(0, 2))
    for label, value in _facts(found, now):
        facts.add_row(Text(label, "dim"), Text(printable(value)))
    title = Text(f"Comparison {found.id}: ", "bold")
    title.append(found.verdict, _style(found.verdict))
    if not found.differences:
        return Group(title, facts)
    table = _table()
    table.add_column("field", no_wrap=True)
    for label in _LABELS.values():
        table.add_column(label, overflow="fold")
    for each in found.differences:
        field = f"{each.field} (noise)" if each.field in found.noisy else each.field
        table.add_row(*(Text(printable(value)) for value in (field, each.legacy, each.candidate)))
    return Group(title, facts, Text(""), table)


def noise_view(reports: Sequence[NoiseReport]) -> RenderableType:
    """The fields that ever differed in a call for which legacy ran twice."""
    parts: list[RenderableType] = []
    for report in reports:
        if not report.samples:
            continue
        parts.append(Text(f"{report.migration}: legacy ran twice in {report.samples} calls", "bold"))
        table = _table()
        for column in ("field", "verdict", "only async differs", "only legacy", "both", "function"):
            table.add_column(column, no_wrap=column != "function", overflow="fold")
        for each in report.fields:
            figures = (str(count) for count in (each.candidate_only, each.legacy_only, each.both))
            table.add_row(
                Text(printable(each.field)), each.verdict, *figures, Text(printable(each.function.rpartition(":")[2]))
            )
        parts.append(table if report.fields else Text("  no field differed"))
    return Group(*parts)


def ago(seconds: float) -> str:
    """A stretch of time as people say it."""
    if seconds < _MINUTE:
        return f"{seconds:.0f} s ago"
    if seconds < _HOUR:
        return f"{seconds / _MINUTE:.0f} min ago"
    return f"{seconds / _HOUR:.0f} h ago" if seconds < 2 * _DAY else f"{seconds / _DAY:.0f} days ago"


def shortened(value: str, length: int) -> str:
    """The beginning of a value, for a list."""
    return value if len(value) <= length else f"{value[: length - 3]}..."


def _sum(counts: Mapping[str, int]) -> Text:
    different, aside = (sum(counts.get(each, 0) for each in which) for which in (MISMATCHES, NOT_COMPARED))
    total = sum(counts.values()) - aside
    if different:
        text = Text(f"{different} of {total} comparisons found that the two sides differ", "bold red")
    elif total:
        text = Text(f"{total} comparisons, and the two sides never differed", "bold green")
    else:
        text = Text("no call could be compared", "bold yellow")
    if aside:
        reasons = ", ".join(f"{counts[each]} {each}" for each in NOT_COMPARED if counts.get(each))
        text.append(f"; not compared: {reasons}; --verdict dropped says why", "yellow")
    return text


def _head(cause: Cause) -> Text:
    text = Text(f"{cause.count} ", "bold")
    text.append(cause.verdict, _style(cause.verdict))
    text.append(f"  {printable(cause.function.rpartition(':')[2])}", "bold")
    return text


def _when(cause: Cause, now: float) -> Text:
    when = ago(now - cause.last_at)
    if cause.count > 1:
        when = f"last {when}, first {ago(now - cause.first_at)}"
    return Text(f"{when}; shim mismatches show {cause.example}", "dim")


def _fields(cause: Cause) -> RenderableType:
    if not any(symptom.field for symptom in cause.symptoms):
        return Text(printable(cause.detail))
    table = _table()
    table.add_column("field", no_wrap=True)
    table.add_column("differs in", no_wrap=True)
    for label in _LABELS.values():
        table.add_column(label, overflow="fold")
    for symptom in cause.symptoms[:_SHOWN_FIELDS]:
        length = _ERROR_LENGTH if symptom.kind is DifferenceKind.ERROR else _VALUE_LENGTH
        values = (symptom.field, symptom.kind, shortened(symptom.legacy, length), shortened(symptom.candidate, length))
        table.add_row(*(Text(printable(value)) for value in values))
    others = len(cause.symptoms) - _SHOWN_FIELDS
    return Group(table, Text(f"and {others} more fields", "dim")) if others > 0 else table


def _each(shown: Overview) -> Table:
    table = _table()
    for column in ("id", "when", "verdict"):
        table.add_column(column, no_wrap=True)
    table.add_column("function", overflow="fold")
    table.add_column("what differs", no_wrap=True)
    for found in shown.comparisons[: shown.limit]:
        fields = [each.field for each in found.differences[:_SHOWN_FIELDS]] or [found.detail]
        more = len(found.differences) - _SHOWN_FIELDS
        if more > 0:
            fields.append(f"and {more} more")
        table.add_row(
            str(found.id),
            ago(shown.now - found.at),
            Text(found.verdict, _style(found.verdict)),
            Text(printable(found.function.rpartition(":")[2])),
            Text("\n".join(map(printable, fields))),
        )
    return table


def _facts(found: RecordedComparison, now: float) -> list[tuple[str, str]]:
    at = datetime.fromtimestamp(found.at).astimezone()
    facts = [
        ("when", f"{at:%Y-%m-%d %H:%M:%S %Z}, {ago(now - found.at)}"),
        ("function", found.function),
        ("flag", f"{found.migration}, version {found.flag_version or 'unknown'}"),
        ("call", "  ".join(f"{name}={value}" for name, value in found.attributes.items())),
        ("call id", found.call_id),
        ("served by", _run(found.primary_side, found.primary_seconds, found.primary_trace)),
        (f"by {found.mode}", _run(found.primary_side.other, found.shadow_seconds, found.shadow_trace)),
        ("masked", ", ".join(found.masked)),
        ("unused masks", ", ".join(found.unused_masks)),
        ("detail", found.detail),
    ]
    return [(label, value) for label, value in facts if value]


def _run(side: Side, seconds: float | None, trace: str | None) -> str:
    parts = [_LABELS[side]]
    if seconds is not None:
        parts.append(f"{seconds * 1000:.0f} ms")
    if trace is not None:
        _, _, rest = trace.partition("-")
        trace_id, _, flags = rest.partition("-")
        parts.append(f"trace {trace_id}{'' if flags.endswith(_SAMPLED) else ' (not sampled)'}")
    return ", ".join(parts)


def _table(*columns: str) -> Table:
    return Table(*columns, box=None, header_style="dim", padding=(0, 2, 0, 0))


def _style(verdict: str) -> str:
    return "red" if verdict in MISMATCHES else "yellow" if verdict in NOT_COMPARED else "green"
