"""What the journal of uploads says of itself, as plain data and in a sentence."""

from __future__ import annotations

import time
from typing import TypedDict

from tools.journal import get_journal
from tools.journal.port import JournalError


class JournalReport(TypedDict):
    """The journal of uploads; the figures are None when it cannot be read, and `error` says why.

    `unjournaled` counts the uploads that went on without it, `age_seconds` is how long ago the last one did.
    """

    backend: str | None
    under_way: int | None
    left: int | None
    unknown: int | None
    unjournaled: int | None
    age_seconds: float | None
    notice: str | None
    error: str | None


def journal_report() -> JournalReport:
    """How the journal in force stands."""
    try:
        standing = get_journal().standing()
    except JournalError as error:
        return {
            "backend": None,
            "under_way": None,
            "left": None,
            "unknown": None,
            "unjournaled": None,
            "age_seconds": None,
            "notice": None,
            "error": str(error),
        }
    last = standing.last_unjournaled_at
    return {
        "backend": standing.backend,
        "under_way": standing.under_way,
        "left": standing.left,
        "unknown": standing.unknown,
        "unjournaled": standing.unjournaled,
        "age_seconds": None if last is None else time.time() - last,
        "notice": standing.notice,
        "error": None,
    }


def journal_lines(report: JournalReport) -> list[tuple[str, bool]]:
    """What people are told: each line, and whether it needs their attention."""
    if report["error"] is not None:
        return [(f"{report['error']}; uploads go on without it", True)]
    figures = f"{report['under_way']} under way, {report['left']} left by processes that died"
    unresolved = bool(report["left"] or report["unknown"])
    lines = [(f"journal: {report['backend']}: {figures}, {report['unknown']} of unknown outcome", unresolved)]
    if unresolved:
        lines.append(("`shim reconcile` finds out what came of them", True))
    if report["unjournaled"]:
        age = "" if report["age_seconds"] is None else f", the last {report['age_seconds']:.0f} s ago"
        lines.append((f"journal: {report['unjournaled']} uploads went on without it{age}", True))
    if report["notice"] is not None:
        lines.append((f"journal: {report['notice']}", True))
    return lines
