"""What goes wrong when uploads are reconciled."""

from __future__ import annotations

from pathlib import Path

from tools.errors import ToolsError


class ContentChangedError(ToolsError):
    """A file that was to be uploaded again has another content by now."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(f"{path.name} has changed since it was to be uploaded; it was not sent")


class AtWorkError(ToolsError):
    """Another process is removing orphans."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(f"another process is removing orphans (it holds {path}); wait until it has ended")
