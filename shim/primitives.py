"""What of the library serves code that is to know no migrations: SQLite, drivers of a policy, forks, threads."""

from __future__ import annotations

from migration.forking import close_before_fork, new_lock, renew_in_child, unforked
from migration.model.errors import StoreError
from migration.store.database import Database, execute_all, make_private_folder
from migration.store.process_lock import ProcessLock, process_lock, release_process_locks
from migration.store.shim_db import copy_rows
from migration.store.writer import Writer
from migration.threads import BackgroundThread, why_no_loop

__all__ = [
    "BackgroundThread",
    "Database",
    "ProcessLock",
    "StoreError",
    "Writer",
    "close_before_fork",
    "copy_rows",
    "execute_all",
    "make_private_folder",
    "new_lock",
    "process_lock",
    "release_process_locks",
    "renew_in_child",
    "unforked",
    "why_no_loop",
]
