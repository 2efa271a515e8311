"""Decisions, comparisons and traces as rows of a list, and one of them in full."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from migration import RecordedComparison
from migration.guard import FREEZE_AT, ROLLBACK_AT, Record
from shim.console.figures import curve_of
from shim.process_metrics import SpanSample, VitalsReader

SHOWN_CALLS = 20
"""Bad calls that are listed of one decision: the latest."""

_MORE_ROOTS = 4
"""How many times as many roots are read as are listed, for those of other migrations."""

Document = Mapping[str, object]


def decision_row(record: Record) -> Document:
    """A decision in a sentence, and what became of it."""
    return {
        "id": record.id,
        "at": record.at,
        "action": record.action,
        "by": record.by,
        "rule": record.rule,
        "sentence": record.sentence,
        "carried_out_at": record.carried_out_at,
        "problem": record.problem,
    }


def decision_in_full(record: Record) -> Document:
    """With its figures, its curve and its latest bad calls."""
    return {
        **decision_row(record),
        "numbers": dict(record.numbers),
        "evidence": {"points": curve_of(record), "freeze_at": FREEZE_AT, "rollback_at": ROLLBACK_AT},
        "calls": [
            {
                "at": call.at,
                "side": "candidate" if call.on_candidate else "legacy",
                "signals": sorted(call.signals),
                "kind": call.kind,
                "seconds": call.seconds,
                "trace": call.trace,
            }
            for call in record.calls[-SHOWN_CALLS:]
        ],
    }


def comparison_row(found: RecordedComparison) -> Document:
    """A comparison in a line."""
    return {
        "id": found.id,
        "at": found.at,
        "function": found.function.rpartition(":")[2],
        "verdict": found.verdict,
        "mode": found.mode,
        "fields": [each.field for each in found.differences],
        "detail": found.detail,
    }


def comparison_in_full(found: RecordedComparison) -> Document:
    """With every field that differs, and both values."""
    return asdict(found)


def trace_rows(vitals: VitalsReader, migration: str, *, limit: int) -> Sequence[Document]:
    """The latest traces of a migration's calls, newest first, each with the shadows that are linked to it."""
    shadows: dict[str, str] = {}
    for shadow in vitals.shadows(limit=limit * _MORE_ROOTS):
        for primary in shadow.links:
            shadows[primary] = shadow.trace
    roots = sorted(vitals.roots(limit=limit * _MORE_ROOTS), key=lambda root: root.began, reverse=True)
    found = [root for root in roots if root.name == migration]
    return [
        {
            "trace": root.trace,
            "at": root.began,
            "seconds": root.seconds,
            "failed": root.failed,
            "side": root.attributes.get("migration.side"),
            "shadow": shadows.get(root.trace),
        }
        for root in found[:limit]
    ]


def trace_in_full(vitals: VitalsReader, trace: str) -> Document:
    """The spans of a trace, and of the shadows that are linked to it."""
    return {
        "trace": trace,
        "spans": [_span(span) for span in vitals.trace(trace)],
        "shadows": [_span(span) for span in vitals.shadows_of(trace)],
    }


def _span(span: SpanSample) -> Document:
    return {
        "trace": span.trace,
        "span": span.span,
        "parent": span.parent,
        "name": span.name,
        "began": span.began,
        "seconds": span.seconds,
        "failed": span.failed,
        "attributes": dict(span.attributes),
        "links": span.links,
    }
