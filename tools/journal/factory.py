"""Which journal the configuration asks for."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

from shim.primitives import new_lock, release_process_locks, unforked
from tools.journal.port import Journal
from tools.journal.sqlite import SqliteJournal
from tools.settings import Settings, get_settings

MAX_JOURNALS = 16
"""Journals of one process that are kept open; the one that was used least recently makes room."""

_Key = tuple[Path, str | None]
_journals: OrderedDict[_Key, Journal] = OrderedDict()
_lock = new_lock()


def get_journal(settings: Settings | None = None) -> Journal:
    """The journal in force: Supabase's Postgres when it is configured, otherwise SQLite in `SHIM_HOME`.

    One instance a process. A database without the journal's table is not used; SQLite serves instead, and says so.
    """
    settings = settings or get_settings()
    key = (settings.uploads_db, settings.supabase_url)
    with _lock:
        journal = _journals.get(key)
        if journal is None:
            journal = _journals[key] = _opened(settings)
        _journals.move_to_end(key)
        too_many = [_journals.popitem(last=False)[1] for _ in range(len(_journals) - MAX_JOURNALS)]
    for old in too_many:
        old.stop()
    return journal


def close_journals(seconds: float = 1.0) -> None:
    """Close every journal and give its claims up: for a process that lives on without an upload, as in tests.

    Args:
        seconds: how long each may take to write what it still has.
    """
    with _lock:
        journals = list(_journals.values())
        _journals.clear()
    for journal in journals:
        journal.flush(seconds)
        journal.stop()
    release_process_locks()


def _opened(settings: Settings) -> Journal:
    local = SqliteJournal(settings.uploads_db)
    if settings.supabase_url is None or settings.supabase_service_role_key is None:
        return local

    # the client's packages take a while to import, so only those who use them wait for that
    with unforked():
        from tools.journal.supabase import SupabaseJournal  # noqa: PLC0415  # see above

    return SupabaseJournal(
        url=settings.supabase_url, key=settings.supabase_service_role_key.get_secret_value(), local=local
    )
