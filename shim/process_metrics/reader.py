"""Questions to the vitals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from migration import Side
from shim.process_metrics.file import reading
from shim.process_metrics.model import CallSample, ProcessSample, ShareSample, SpanSample

MOST_SPANS = 200
"""Spans that are shown of one trace, with those of its shadows."""

_SHARES = """
SELECT at, instance, migration, percent, shadow_percent, source FROM shares
WHERE migration = :migration AND (at >= :since OR id IN (
  SELECT max(id) FROM shares WHERE migration = :migration AND at < :since GROUP BY instance))
ORDER BY id
"""

# Each root span that nothing is linked from, newest first: the shadow of a call is shown with the call.
_ROOTS = "SELECT * FROM spans WHERE parent IS NULL AND links = '[]' ORDER BY id DESC LIMIT ?"
_LINKED = "SELECT * FROM spans WHERE parent IS NULL AND links != '[]' ORDER BY id DESC LIMIT ?"


class VitalsReader:
    """Reads the vitals; a file that does not exist yet is an empty one. Every method raises `VitalsError`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def calls(self, migration: str, *, since: float) -> list[CallSample]:
        """The calls of a migration that ended since then, oldest first."""
        with reading(self.path) as database:
            rows = (
                database.execute(
                    "SELECT at, migration, side, seconds, bytes, error FROM calls"
                    " WHERE migration = ? AND at >= ? ORDER BY at",
                    (migration, since),
                ).fetchall()
                if database
                else []
            )
        return [CallSample(**{**row, "side": Side(row["side"])}) for row in rows]

    def processes(self, *, since: float) -> list[ProcessSample]:
        """The samples of all processes since then, oldest first."""
        with reading(self.path) as database:
            rows = (
                database.execute(
                    "SELECT at, process, memory, memory_limit, pool_used, pool_limit, loop_delay, lost FROM processes"
                    " WHERE at >= ? ORDER BY at",
                    (since,),
                ).fetchall()
                if database
                else []
            )
        return [ProcessSample(**row) for row in rows]

    def shares(self, migration: str, *, since: float) -> list[ShareSample]:
        """The changes since then, oldest first, and before them the last one of each instance before that time."""
        with reading(self.path) as database:
            found = {"migration": migration, "since": since}
            rows = database.execute(_SHARES, found).fetchall() if database else []
        return [ShareSample(**row) for row in rows]

    def last_share(self, instance: str, migration: str) -> ShareSample | None:
        """What an instance has written down last."""
        with reading(self.path) as database:
            row = (
                database.execute(
                    "SELECT at, instance, migration, percent, shadow_percent, source FROM shares"
                    " WHERE instance = ? AND migration = ? ORDER BY id DESC LIMIT 1",
                    (instance, migration),
                ).fetchone()
                if database
                else None
            )
        return None if row is None else ShareSample(**row)

    def roots(self, *, limit: int) -> list[SpanSample]:
        """The latest traces of calls, newest first, each as its first span."""
        return self._spans(_ROOTS, limit)

    def shadows(self, *, limit: int) -> list[SpanSample]:
        """The latest traces that are linked to another one, newest first, each as its first span."""
        return self._spans(_LINKED, limit)

    def trace(self, trace: str) -> list[SpanSample]:
        """The spans of a trace, in the order in which they began."""
        return sorted(
            self._spans("SELECT * FROM spans WHERE trace = ? LIMIT ?", trace, MOST_SPANS),
            key=lambda span: (span.began, span.parent is not None),
        )

    def shadows_of(self, trace: str) -> list[SpanSample]:
        """The spans of the traces that are linked to this one."""
        linked = self._spans("SELECT * FROM spans WHERE links LIKE ? LIMIT ?", f'%"{trace}"%', MOST_SPANS)
        return [span for root in {span.trace: span for span in linked}.values() for span in self.trace(root.trace)]

    def _spans(self, question: str, *values: object) -> list[SpanSample]:
        with reading(self.path) as database:
            rows = database.execute(question, values).fetchall() if database else []
        return [_span_of(row) for row in rows]


def _span_of(row: Any) -> SpanSample:
    return SpanSample(
        trace=row["trace"],
        span=row["span"],
        parent=row["parent"],
        name=row["name"],
        began=row["began"],
        seconds=row["seconds"],
        failed=bool(row["failed"]),
        attributes=json.loads(row["attributes"]),
        links=tuple(json.loads(row["links"])),
    )
