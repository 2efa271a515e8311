"""Uploads that the journal knows to be unfinished."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from tools.journal import get_journal
from tools.settings import Settings

MOST_ENTRIES = 100
"""Entries that are listed: the oldest."""


def journal_report(settings: Settings) -> Mapping[str, object]:
    """The journal in figures, and what is unfinished; names and paths of files are left out, they may be personal.

    Raises:
        JournalError: it cannot be read.
    """
    journal = get_journal(settings)
    entries = journal.unfinished()
    return {
        "standing": asdict(journal.standing()),
        "left_out": max(0, len(entries) - MOST_ENTRIES),
        "entries": [
            {
                "upload_id": entry.intent.upload_id,
                "provider": entry.intent.provider,
                "side": entry.intent.side.value,
                "state": entry.state.value,
                "bytes": entry.intent.size,
                "began_at": entry.intent.began_at,
                "updated_at": entry.updated_at,
                "error": entry.facts.error,
            }
            for entry in entries[:MOST_ENTRIES]
        ],
    }
