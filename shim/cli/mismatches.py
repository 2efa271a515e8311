"""`shim mismatches`: where the two implementations were seen to differ, and one such comparison in full."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from migration import Side
from migration.model import MISMATCHES, NOT_COMPARED, Verdict
from migration.shadow import NoiseReport, noise_report
from migration.store import Cause, DifferenceKind, LedgerReader, RecordedComparison, causes
from shim.cli.conventions import (
    CommandError,
    ExitCode,
    JsonOption,
    JUnitOption,
    ListByDefault,
    OneMigration,
    parse_duration,
)
from shim.cli.finding import has_command, settings
from shim.cli.output import (
    JUnitCase,
    ago,
    differences_table,
    finish,
    local_time,
    note,
    plain_table,
    printable,
    shortened,
    verdict_style,
    write_junit,
)

_SHOWN_FIELDS = 4
_VALUE_LENGTH, _ERROR_LENGTH = 28, 120
_SAMPLED = ("1", "3")  # the lowest bit of a traceparent's last figure

mismatches_app = typer.Typer(
    cls=ListByDefault,
    help="List where the two implementations were seen to differ. `list` may be left out; `show` shows one comparison.",
    rich_markup_mode=None,
)


@mismatches_app.command("list")
def mismatches_list(
    name: OneMigration = None,
    *,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Not older than 90s, 15m, 2h, 3d, ...")] = None,
    verdict: Annotated[
        list[Verdict] | None, typer.Option(help="With this verdict; may be given several times.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Show at most so many.")] = 20,
    each: Annotated[bool, typer.Option("--each", help="List every comparison, not grouped by cause.")] = False,
    noise: Annotated[
        bool, typer.Option("--noise", help="Instead, show in which fields legacy differs from itself.")
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="End with 6 if anything is listed.")] = False,
    junit: JUnitOption = None,
    json: JsonOption = False,
) -> int:
    """List where they were seen to differ, grouped by cause."""
    if noise:
        return _show_noise(name, as_json=json)
    ledger, now = LedgerReader(settings().shim_db), time.time()
    earliest = 0.0 if since is None else now - parse_duration(since)
    counts = ledger.verdicts(name, since=earliest)
    found = ledger.comparisons(name, verdicts=verdict or MISMATCHES, since=earliest)
    groups = causes(found)
    if junit is not None:
        not_compared = ledger.comparisons(name, verdicts=NOT_COMPARED, since=earliest)
        write_junit(junit, "shim mismatches", [*_cases(groups), *_skipped(causes(not_compared)), *_agreeing(counts)])
    if not counts and not json:
        note(_nothing_recorded(name, since))
    listed = {"comparisons": [asdict(one) for one in found[:limit]]} if each else {}
    return finish(
        {"verdicts": counts, "causes": [asdict(cause) for cause in groups[:limit]], **listed},
        _overview(_Overview(counts=counts, causes=groups, comparisons=found if each else (), limit=limit, now=now)),
        as_json=json,
        code=ExitCode.DIFFERENT if check and found else ExitCode.OK,
    )


@mismatches_app.command("show")
def mismatches_show(
    number: Annotated[int, typer.Argument(metavar="ID", help="Its number in the list.")], *, json: JsonOption = False
) -> int:
    """Show one comparison, both sides next to each other."""
    found = LedgerReader(settings().shim_db).comparison(number)
    if found is None:
        raise CommandError(f"no comparison {number} is recorded (any more); `shim mismatches` lists those that are")
    return finish(asdict(found), _one_comparison(found, now=time.time()), as_json=json)


def _show_noise(name: str | None, *, as_json: bool) -> int:
    """Show what is known of fields in which legacy, run twice, differs from itself."""
    ledger = LedgerReader(settings().shim_db)
    reports = [noise_report(each, ledger.noise_samples(each)) for each in ([name] if name else ledger.migrations())]
    if not as_json and not any(report.samples for report in reports):
        note("legacy was never run twice; it is for a share of the compared calls (SHADOW_NOISE_SHARE)")
    return finish({"reports": [asdict(report) for report in reports]}, _noise_view(reports), as_json=as_json)


def _nothing_recorded(name: str | None, since: str | None) -> str:
    which = f" of {name}" if name else ""
    when = f" in the last {since}" if since else ""
    at_once = ", `shim compare FILE` compares a file at once" if has_command("compare") else ""
    return (
        f"no comparison{which} is recorded{when}; `shim flags set {name or 'NAME'}.shadow 20` compares a fifth of the "
        f"calls{at_once}"
    )


def _cases(groups: Sequence[Cause]) -> list[JUnitCase]:
    return [
        JUnitCase(
            group=cause.function.replace(":", "."),
            name=f"{cause.verdict}: {', '.join(symptom.field for symptom in cause.symptoms)}",
            failure=f"{cause.count} comparisons; `shim mismatches show {cause.example}` shows the newest",
            text="\n".join(
                f"{symptom.field} ({symptom.kind}): legacy {symptom.legacy}, candidate {symptom.candidate}"
                for symptom in cause.symptoms
            ),
        )
        for cause in groups
    ]


def _skipped(groups: Sequence[Cause]) -> list[JUnitCase]:
    return [
        JUnitCase(
            group=cause.function.replace(":", "."),
            name=f"{cause.verdict}: {cause.detail}",
            skipped=f"{cause.count} calls were not compared",
        )
        for cause in groups
    ]


def _agreeing(counts: dict[str, int]) -> list[JUnitCase]:
    others = {*MISMATCHES, *NOT_COMPARED}
    return [
        JUnitCase(group="agreeing", name=f"{count} {verdict}")
        for verdict, count in counts.items()
        if verdict not in others
    ]


# At a terminal


@dataclass(frozen=True, slots=True, kw_only=True)
class _Overview:
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


def _overview(shown: _Overview) -> RenderableType:
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


def _one_comparison(found: RecordedComparison, *, now: float) -> RenderableType:
    """Everything that is known of one comparison."""
    facts = plain_table(("", ""), [(Text(label, "dim"), value) for label, value in _facts(found, now)])
    title = Text(f"Comparison {found.id}: ", "bold")
    title.append(found.verdict, verdict_style(found.verdict))
    if not found.differences:
        return Group(title, facts)
    rows = [
        (f"{each.field} (noise)" if each.field in found.noisy else each.field, each.legacy, each.candidate)
        for each in found.differences
    ]
    return Group(title, facts, Text(""), differences_table(rows))


def _noise_view(reports: Sequence[NoiseReport]) -> RenderableType:
    """The fields that ever differed in a call for which legacy ran twice."""
    parts: list[RenderableType] = []
    for report in reports:
        if not report.samples:
            continue
        parts.append(Text(f"{report.migration}: legacy ran twice in {report.samples} calls", "bold"))
        titles = ("field", "verdict", "only candidate differs", "only legacy", "both", "function")
        rows = [
            (
                each.field,
                each.verdict,
                *map(str, (each.candidate_only, each.legacy_only, each.both)),
                each.function.rpartition(":")[2],
            )
            for each in report.fields
        ]
        parts.append(plain_table(titles, rows, whole=titles[:-1]) if rows else Text("  no field differed"))
    return Group(*parts)


def _sum(counts: Mapping[str, int]) -> Text:
    different, not_compared = (sum(counts.get(each, 0) for each in which) for which in (MISMATCHES, NOT_COMPARED))
    total = sum(counts.values()) - not_compared
    if different:
        text = Text(f"{different} of {total} comparisons found that the two sides differ", "bold red")
    elif total:
        text = Text(f"{total} comparisons, and the two sides never differed", "bold green")
    else:
        text = Text("no call could be compared", "bold yellow")
    if not_compared:
        reasons = ", ".join(f"{counts[each]} {each}" for each in NOT_COMPARED if counts.get(each))
        text.append(f"; not compared: {reasons}; --verdict dropped says why", "yellow")
    return text


def _head(cause: Cause) -> Text:
    text = Text(f"{cause.count} ", "bold")
    text.append(cause.verdict, verdict_style(cause.verdict))
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
    rows = []
    for symptom in cause.symptoms[:_SHOWN_FIELDS]:
        length = _ERROR_LENGTH if symptom.kind is DifferenceKind.ERROR else _VALUE_LENGTH
        values = (shortened(value, length) for value in (symptom.legacy, symptom.candidate))
        rows.append((symptom.field, symptom.kind, *values))
    table = differences_table(rows, "differs in")
    others = len(cause.symptoms) - _SHOWN_FIELDS
    return Group(table, Text(f"and {others} more fields", "dim")) if others > 0 else table


def _each(shown: _Overview) -> Table:
    rows: list[Sequence[str | Text]] = []
    for found in shown.comparisons[: shown.limit]:
        fields = [each.field for each in found.differences[:_SHOWN_FIELDS]] or [found.detail]
        more = len(found.differences) - _SHOWN_FIELDS
        if more > 0:
            fields.append(f"and {more} more")
        rows.append(
            (
                str(found.id),
                ago(shown.now - found.at),
                Text(found.verdict, verdict_style(found.verdict)),
                found.function.rpartition(":")[2],
                "\n".join(map(printable, fields)),
            )
        )
    titles = ("id", "when", "verdict", "function", "what differs")
    return plain_table(titles, rows, whole={*titles} - {"function"})


def _facts(found: RecordedComparison, now: float) -> list[tuple[str, str]]:
    facts = [
        ("when", f"{local_time(found.at)}, {ago(now - found.at)}"),
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
    parts = [side.value]
    if seconds is not None:
        parts.append(f"{seconds * 1000:.0f} ms")
    if trace is not None:
        _, _, rest = trace.partition("-")
        trace_id, _, flags = rest.partition("-")
        parts.append(f"trace {trace_id}{'' if flags.endswith(_SAMPLED) else ' (not sampled)'}")
    return ", ".join(parts)
