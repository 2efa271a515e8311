"""What the tests of the shared journal make: intents, journals, and two kinds of project."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.supabase import SupabaseTables
from tools.journal.port import Held, Intent, Opening, UploadSide
from tools.journal.sqlite import SqliteJournal
from tools.journal.supabase import SupabaseJournal
from tools.sandbox import RunningSandbox

ANSWER_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A Supabase project of either kind.

    Attributes:
        url: its address.
        key: of the service role.
        set_lease: lets leases that begin from then on last so many seconds.
    """

    url: str
    key: str
    set_lease: Callable[[int], object]


def real_project(tables: SupabaseTables) -> Project:
    """One with a real database."""
    return Project(url=tables.url, key=tables.key, set_lease=lambda seconds: tables.migrate(lease_seconds=seconds))


def sandbox_project(sandbox: RunningSandbox) -> Project:
    """The stand-in."""
    return Project(
        url=sandbox.supabase_url,
        key=sandbox.key,
        set_lease=lambda seconds: sandbox.set_limits(intent_lease_seconds=seconds),
    )


@contextmanager
def journal_of(project: Project, home: Path, *, heartbeat: float = 15.0) -> Iterator[SupabaseJournal]:
    """The journal of one more process, or of another machine: with a home of its own."""
    local = SqliteJournal(home / "journal.db")
    journal = SupabaseJournal(url=project.url, key=project.key, local=local, heartbeat=heartbeat)
    try:
        yield journal
    finally:
        journal.flush(ANSWER_SECONDS)
        journal.stop()


def intent(sha256: str = "a" * 64, **others: object) -> Intent:
    """An upload."""
    values = {
        "upload_id": str(uuid.uuid4()),
        "provider": "kimi",
        "account": "https://api.moonshot.ai/v1",
        "purpose": "file-extract",
        "sha256": sha256,
        "filename": "report.txt",
        "size": 12,
        "path": "/srv/report.txt",
        "side": UploadSide.ASYNC,
        "began_at": 0.0,
    }
    return Intent(**values | others)  # type: ignore[arg-type]  # what tests give is checked by the table


def opened(journal: SupabaseJournal, wanted: Intent, *, overlapping: float = 0.0) -> Opening:
    """What opening an intent comes to."""
    return journal.open(wanted, overlapping=overlapping).result(ANSWER_SECONDS)


def awaited(journal: SupabaseJournal, wanted: Intent, *, overlapping: float = 0.0) -> Opening:
    """What opening an intent comes to when the claim is not held any more."""
    begun = time.monotonic() - overlapping
    while isinstance(opening := opened(journal, wanted, overlapping=time.monotonic() - begun), Held):
        time.sleep(0.02)
    return opening


def eventually(holds: Callable[[], bool], seconds: float = 20.0) -> bool:
    """Whether something holds within a time."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
