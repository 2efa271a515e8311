"""What the journal of uploads shows on the console."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from shim.application import CellKind, ConsoleSection, SectionContent, SectionTable
from tools.journal import get_journal
from tools.journal.port import JournalStatus
from tools.settings import get_settings

MOST_ENTRIES = 100
"""Unfinished uploads that are listed: the oldest."""

_COLUMNS = (
    ("began", CellKind.TIME),
    ("state", CellKind.WARNING),
    ("provider", CellKind.TEXT),
    ("side", CellKind.TEXT),
    ("size", CellKind.BYTES),
    ("last change", CellKind.TIME),
    ("upload", CellKind.CODE),
    ("error", CellKind.TEXT),
)


def read() -> SectionContent:
    """The journal in figures, and what is unfinished; names and paths of files are left out, they may be personal.

    Raises:
        JournalError: it cannot be read.
    """
    journal = get_journal(get_settings())
    status, entries = journal.status(), journal.unfinished()
    left_out = len(entries) - MOST_ENTRIES
    figures = [
        ("in flight", status.in_flight),
        ("left by a process that died", status.left),
        ("ended without a known outcome", status.unknown),
        ("went on without the journal", status.unjournaled),
    ]
    return SectionContent(
        tables=[
            SectionTable(
                title="The journal in figures",
                columns=(("uploads", CellKind.TEXT), ("number", CellKind.COUNT)),
                rows=figures,
                empty="",
            ),
            SectionTable(
                title="Unfinished uploads, oldest first",
                columns=_COLUMNS,
                rows=[
                    (
                        entry.intent.began_at,
                        entry.state.value,
                        entry.intent.provider,
                        entry.intent.side.value,
                        entry.intent.size,
                        entry.updated_at,
                        entry.intent.upload_id,
                        entry.facts.error,
                    )
                    for entry in entries[:MOST_ENTRIES]
                ],
                empty="None: every upload that was begun has ended with a known outcome.",
            ),
        ],
        notices=[*_unjournaled(status), *([status.notice] if status.notice else [])],
        hints=[*([f"{left_out:,} younger ones are left out."] if left_out > 0 else []), f"Kept in {status.backend}."],
    )


def _unjournaled(status: JournalStatus) -> Iterator[str]:
    if status.last_unjournaled_at is not None:
        last = datetime.fromtimestamp(status.last_unjournaled_at, tz=UTC)
        yield f"{status.unjournaled:,} uploads went on without the journal, the last at {last:%Y-%m-%d %H:%M:%S} UTC"


JOURNAL = ConsoleSection(name="Journal", title="Unfinished uploads in the journal", read=read)
"""Uploads that the journal knows to be unfinished."""
