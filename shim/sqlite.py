"""SQLite for what uses the shim: the library's file with its upgrades, its writer, its locks of processes.

Code that is to know nothing of migrations takes them from here.
"""

from migration.model.errors import StoreError
from migration.store.database import Database, execute_all, make_private_folder
from migration.store.process_lock import ProcessLock, process_lock, release_process_locks
from migration.store.shim_db import copy_rows
from migration.store.writer import Writer

__all__ = [
    "Database",
    "ProcessLock",
    "StoreError",
    "Writer",
    "copy_rows",
    "execute_all",
    "make_private_folder",
    "process_lock",
    "release_process_locks",
]
