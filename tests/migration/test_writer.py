"""The thread that writes: it ends when it is closed, and writes nothing into a file of a newer program."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from migration.store.shim_db import shim_db
from migration.store.writer import Writer
from tests.migration.helpers import eventually

_ADD = "INSERT INTO notices (text) VALUES (?)"


class Notes(Writer[str]):
    """Writes notes, and tries those again that could not be written."""

    def write(self, database: sqlite3.Connection, items: Sequence[str]) -> None:
        """Add them."""
        database.executemany(_ADD, [(item,) for item in items])

    def failed(self, items: Sequence[str], error: Exception) -> Sequence[str]:
        """Try them again."""
        del error
        return items


def notes(path: Path) -> Notes:
    """A writer that gathers for a moment only."""
    return Notes(shim_db(path), name="notes", gather_seconds=0.01)


def kept(path: Path) -> list[str]:
    """The notes in the file."""
    with closing(sqlite3.connect(path)) as database:
        return [text for (text,) in database.execute("SELECT text FROM notices ORDER BY id")]


def test_a_closed_writer_ends_though_its_last_items_cannot_be_written(tmp_path: Path) -> None:
    """They are lost, and no thread goes on trying."""
    place = tmp_path / "a file"
    place.write_text("where a folder should be")
    writer = notes(place / "shim.db")
    before = set(threading.enumerate())
    assert writer.put("lost")
    [thread] = set(threading.enumerate()) - before
    writer.close(5.0)
    assert not thread.is_alive()


def test_nothing_is_written_into_a_file_that_a_newer_program_has_upgraded_meanwhile(tmp_path: Path) -> None:
    """Although the file is still open; what waits is written once the version is known again."""
    path = tmp_path / "shim.db"
    writer = notes(path)
    assert writer.put("before")
    assert writer.flush(5.0)
    with closing(sqlite3.connect(path)) as database, database:
        [known] = database.execute("PRAGMA user_version").fetchone()
        database.execute(f"PRAGMA user_version = {known + 1}")
    assert writer.put("meanwhile")
    assert not writer.flush(5.0)
    assert kept(path) == ["before"]
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(f"PRAGMA user_version = {known}")
    assert eventually(lambda: kept(path) == ["before", "meanwhile"])
    writer.close(5.0)
