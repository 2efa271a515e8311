"""The library's drivers of a policy, for code that knows nothing of a migration."""

from migration.model.driver import drive, drive_async

__all__ = ["drive", "drive_async"]
