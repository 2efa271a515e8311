"""The embedded storage: a folder for the copies, SQLite for the rows."""

from __future__ import annotations

from tools.storage.local.storage import LocalStorage

__all__ = ["LocalStorage"]
