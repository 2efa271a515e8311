"""The page: one file that needs nothing else, neither a server nor the network."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]  # it has no types

from migration import Cause
from migration.guard import Record
from shim.report import plots
from shim.report.findings import Findings, missing, moment, summary

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
        _section("Stages over time", _plot("stages", plots.stages(found), found.shares)),
        _section("Success of both sides", _plot("success", plots.success(found), found.calls)),
        _section("Duration of both sides", _plot("latency", plots.latency(found), found.calls)),
        _section("Comparisons", _plot("verdicts", plots.verdicts(found), list(found.verdicts)) + _causes(found.causes)),
        _section("Evidence of the guard", _plot("evidence", plots.evidence(found), found.curve)),
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
    return _table(("times", "verdict", "function", "field: legacy / async", "an example"), rows)


def _decisions(records: Sequence[Record]) -> str:
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
