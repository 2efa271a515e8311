"""What a report says in sentences: how it went, and what is missing."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import Any, cast

import plotly.graph_objects as go  # type: ignore[import-untyped]  # it has no types
from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]  # it has no types

from migration import Side
from migration.guard import FREEZE_AT, ROLLBACK_AT, DecisionRecord, GuardStatus
from migration.model import MISMATCHES, NOT_COMPARED
from migration.rollout import Rollout, RolloutPhase, RolloutStore
from migration.store import Cause, LedgerReader, causes
from shim.console.figures import EvidenceCurves, Point, timeline
from shim.drill_history import DrillHistory, DrillResult
from shim.process_metrics import CallSample, ProcessMetricsReader, ShareSample
from shim.settings import ShimSettings

MAX_RECORDS = 200
"""Decisions that are listed, the latest; `shim decisions` lists all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What there is to be said. Times are seconds since the epoch.

    Attributes:
        migration: of which migration.
        since, at: the stretch of time.
        calls: the calls that answered a caller, oldest first.
        shares: who was to serve from when on, oldest first.
        verdicts: how many comparisons ended how.
        causes: why sides were seen to differ, most frequent first.
        records: what was decided, newest first.
        status: what the guard holds.
        evidence: against the candidate since it was last resumed.
        curve: the same after each bad call.
        rollout: where the latest rollout stands, if there ever was one.
        drills: what was tried on purpose, newest first.
        lost: records of calls and comparisons that could not be written.
    """

    migration: str
    since: float
    at: float
    calls: Sequence[CallSample]
    shares: Sequence[ShareSample]
    verdicts: Mapping[str, int]
    causes: Sequence[Cause]
    records: Sequence[DecisionRecord]
    status: GuardStatus
    evidence: float
    curve: Sequence[Point]
    rollout: Rollout | None
    drills: Sequence[DrillResult]
    lost: int

    def calls_of(self, side: Side) -> list[CallSample]:
        """The calls that a side served."""
        return [call for call in self.calls if call.side is side]


def gather(settings: ShimSettings, migration: str, *, seconds: float) -> Findings:
    """Read everything about the last `seconds`.

    Raises:
        MigrationError: the ledger or the guard's file cannot be read.
        ShimError: another file cannot be read.
    """
    at = time.time()
    since = at - seconds
    ledger = LedgerReader(settings.shim_db)
    store = RolloutStore(settings.shim_db)
    metrics = ProcessMetricsReader(settings.shim_db)
    status = store.status(migration)
    evidence, _ = store.recall(migration=migration, epoch=status.epoch)
    losses = ledger.losses()
    return Findings(
        migration=migration,
        since=since,
        at=at,
        calls=metrics.calls(migration, since=since),
        shares=metrics.shares(migration, since=since),
        verdicts=ledger.verdicts(migration, since=since),
        causes=causes(ledger.comparisons(migration, verdicts=MISMATCHES, since=since)),
        records=[record for record in store.records(migration, limit=MAX_RECORDS) if record.at >= since],
        status=status,
        evidence=evidence.total,
        curve=cast("Sequence[Point]", EvidenceCurves(store).curve(migration, epoch=status.epoch)["points"]),
        rollout=store.rollout(migration),
        drills=DrillHistory(settings.shim_home / "drills.jsonl").drills(migration),
        lost=0 if losses is None else losses.records,
    )


# What a report says in sentences: how it went, and what is missing.

ENOUGH_CALLS = 100
"""Calls of a side below which a rate says little; the guard compares rates from as many on."""

NAMES = {Side.LEGACY: "legacy", Side.CANDIDATE: "candidate"}


def moment(at: float) -> str:
    """A time as a report shows it, in UTC."""
    return datetime.fromtimestamp(at, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def summary(found: Findings) -> Iterator[str]:
    """How it stands, most important first."""
    yield _status(found)
    if found.shares:
        share = found.shares[-1]
        yield f"The flag sends {share.percent:g} % to the candidate, {share.shadow_percent:g} % are compared."
    yield from (_side(side, found.calls_of(side)) for side in Side)
    yield _comparisons(found)
    yield (
        f"The evidence against the candidate is {found.evidence:,.3g} to 1; {FREEZE_AT:g} freezes the rollout, "
        f"{ROLLBACK_AT:g} rolls back."
    )


def missing(found: Findings) -> Iterator[str]:
    """What a reviewer would still want to see."""
    for side in Side:
        calls = len(found.calls_of(side))
        if calls < ENOUGH_CALLS:
            yield f"{NAMES[side]} served {calls} calls in this time; below {ENOUGH_CALLS} a rate says little."
    if not _compared(found):
        yield f"Nothing was compared; the flag {found.migration}.shadow says how much is."
    dropped = sum(found.verdicts.get(verdict, 0) for verdict in NOT_COMPARED)
    if dropped > _compared(found):
        yield f"More comparisons were dropped ({dropped}) than made ({_compared(found)})."
    yield from _missing_rollout(found)
    if not found.drills:
        yield f"That a rollback works here was never tried; `shim drill {found.migration}` does."
    elif not found.drills[0].ok:
        yield f"The last drill failed: {found.drills[0].sentence}"
    if found.lost:
        yield f"{found.lost} records of calls and comparisons could not be written; figures are too low by as many."


def _status(found: Findings) -> str:
    status = found.status
    number = status.held_by
    if number is None:
        return "The guard watches; nothing holds the rollout."
    word = "rolled back" if status.tripped_by is not None else "frozen"
    flag = "" if status.carried_out else " The flag is still to be turned off."
    sentence = next((record.sentence for record in found.records if record.id == number), "")
    return f"The migration is {word} (decision {number}). {sentence}{flag}"


def _side(side: Side, calls: Sequence[CallSample]) -> str:
    if not calls:
        return f"{NAMES[side]} served no call."
    failed = sum(call.error is not None for call in calls)
    return f"{NAMES[side]} served {len(calls)} calls, of which {failed} failed ({100 * failed / len(calls):.2f} %)."


def _comparisons(found: Findings) -> str:
    different = sum(found.verdicts.get(verdict, 0) for verdict in MISMATCHES)
    compared = _compared(found)
    if not compared:
        return "No call was compared."
    return f"{compared} calls were compared; in {different} of them the sides differ, for {len(found.causes)} reasons."


def _compared(found: Findings) -> int:
    return sum(count for verdict, count in found.verdicts.items() if verdict not in NOT_COMPARED)


def _missing_rollout(found: Findings) -> Iterator[str]:
    rollout = found.rollout
    if rollout is None:
        yield f"There was no rollout on evidence; `shim rollout {found.migration}` begins one."
    elif rollout.phase is not RolloutPhase.COMPLETED:
        stage, stages = rollout.stage + 1, len(rollout.plan.stages)
        yield f"The rollout is not complete: stage {stage} of {stages}, {rollout.phase.value.replace('_', ' ')}."


# The plots of a report, drawn by Plotly in the reader's browser.

COLOURS = {Side.LEGACY: "#8a6d00", Side.CANDIDATE: "#0b62a4"}
"""Told apart by people who see few colours, and on paper."""

HEIGHT = 320
"""Of a plot, pixels."""


def stages(found: Findings) -> go.Figure:
    """Who was to serve, over time, and when something was decided."""
    figure = _figure("Share of the calls, percent")
    at = [_time(share.at) for share in found.shares] + [_time(found.at)]
    for name, colour, values in (
        ("on the candidate", COLOURS[Side.CANDIDATE], [share.percent for share in found.shares]),
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
    """The evidence against the candidate after each bad call, and what it is measured by."""
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


# The page: one file that needs nothing else, neither a server nor the network.

MAX_CAUSES = 50
"""Reasons for differences that are listed, the most frequent first."""

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1b1b1b; background: #fff; max-width: 60rem; margin: 2rem auto;
  padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem; border-bottom: 1px solid #ccc;
  overflow-wrap: anywhere; min-width: 5.5rem; }
th:first-child, td:first-child { min-width: 2rem; }
section { overflow-x: auto; }
th { white-space: nowrap; }
h2 { margin-top: 2.5rem; }
code { background: #f2f2f2; padding: 0 .2em; }
@media print { section { break-inside: avoid; } }
"""

# the browser would ask a server for an icon
_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>{style}</style>
<script>{script}</script>
</head>
<body>
"""

_CONFIG = {"displaylogo": False, "responsive": True}


def page(found: Findings) -> str:
    """The report as HTML."""
    title = f"Migration {found.migration}"
    parts = [
        _HEAD.format(title=escape(title), style=_STYLE, script=get_plotlyjs()),
        f"<h1>{escape(title)}</h1>",
        f"<p>From {moment(found.since)} to {moment(found.at)}; the figures are of this machine.</p>",
        _section("How it stands", _list(summary(found))),
        _section("What is missing", _list(missing(found)) or "<p>Nothing that this report looks for.</p>"),
        _section("Stages over time", _plot("stages", stages(found), found.shares)),
        _section("Success of both sides", _plot("success", success(found), found.calls)),
        _section("Duration of both sides", _plot("latency", latency(found), found.calls)),
        _section("Comparisons", _plot("verdicts", verdicts(found), list(found.verdicts)) + _causes(found.causes)),
        _section("Evidence of the guard", _plot("evidence", evidence(found), found.curve)),
        _section("Decisions", _decisions(found.records)),
    ]
    return "\n".join([*parts, "</body>", "</html>", ""])


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>\n{content}</section>"


def _list(sentences: Iterable[str]) -> str:
    items = "".join(f"<li>{_prose(each)}</li>\n" for each in sentences)
    return f"<ul>{items}</ul>" if items else ""


def _prose(sentence: str) -> str:
    """The sentence, with what can be typed as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(sentence))


def _plot(name: str, figure: Any, data: Sequence[object]) -> str:
    if not data:
        return "<p>Nothing was recorded.</p>"
    drawn: str = figure.to_html(full_html=False, include_plotlyjs=False, div_id=f"plot-{name}", config=_CONFIG)
    return drawn


def _causes(causes: Sequence[Cause]) -> str:
    if not causes:
        return "<p>The sides were not seen to differ.</p>"
    rows = [
        (
            str(cause.count),
            cause.verdict.replace("_", " "),
            cause.function.rpartition(":")[2],
            "; ".join(f"{each.field}: {each.legacy} / {each.candidate}" for each in cause.symptoms) or cause.detail,
            f"shim mismatches show {cause.example}",
        )
        for cause in causes[:MAX_CAUSES]
    ]
    return _table(("times", "verdict", "function", "field: legacy / candidate", "an example"), rows)


def _decisions(records: Sequence[DecisionRecord]) -> str:
    if not records:
        return "<p>Nothing was decided.</p>"
    rows = [
        (str(record.id), moment(record.at), record.action.replace("_", " "), record.by, record.sentence)
        for record in records
    ]
    return _table(("id", "when", "decision", "by", "why"), rows)


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(title)}</th>" for title in titles)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>\n" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
