"""Folders for the owner alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from shim.primitives import make_private_folder, process_lock
from tools.storage.local import ObjectFolder


@pytest.mark.parametrize(
    "make",
    [
        make_private_folder,
        lambda folder: process_lock(folder / "journal.owners"),
        lambda folder: ObjectFolder(folder).prepare(),
    ],
    ids=["itself", "owners", "copies"],
)
def test_every_missing_folder_is_the_owners_alone(make: Callable[[Path], object], tmp_path: Path) -> None:
    """Those above the wanted one as well, even if the process gives all rights to all; existing ones stay."""
    before = os.umask(0)
    try:
        make(tmp_path / "state" / "shim" / "home")
        make(tmp_path / "state" / "shim" / "home")
    finally:
        os.umask(before)
    made = [tmp_path / "state", tmp_path / "state" / "shim", tmp_path / "state" / "shim" / "home"]
    assert [oct(folder.stat().st_mode & 0o777) for folder in made] == ["0o700"] * 3


def test_a_file_in_the_way_is_an_error(tmp_path: Path) -> None:
    """What is there already must be a folder."""
    (tmp_path / "home").touch()
    with pytest.raises(NotADirectoryError):
        make_private_folder(tmp_path / "home")
