"""Folders that nobody else on the machine may enter."""

from __future__ import annotations

from pathlib import Path

_OWNER_ONLY = 0o700


def make_private_folder(folder: Path) -> None:
    """Make a folder, and every one above it that is missing, for the owner alone, whatever the process's umask.

    `Path.mkdir` gives its mode to the last folder only: whoever may write to one above could put another in its place.

    Raises:
        OSError: it cannot be made.
    """
    for missing in reversed([each for each in (folder, *folder.parents) if not each.exists()]):
        missing.mkdir(mode=_OWNER_ONLY, exist_ok=True)
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is no folder")
