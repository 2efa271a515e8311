"""The SQLite files of a process: no writer gives up the locks that another connection of it holds."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from migration.guard import DecisionRecord, GuardStore
from migration.shadow.undo_journal import UndoJournal, UndoLimits
from shim.process_metrics import ProcessSample
from tests.support.samples import write_samples
from tests.tools.journal.making import intent, opened
from tools.journal.sqlite import SqliteJournal
from tools.storage.local import LocalRows
from tools.storage.port import UploadRow

READERS_BYTES = (0x40000002, 510)
"""Of the bytes that SQLite locks, those on which each process that has a database open holds a lock."""

_LOCK = """
import fcntl, sys
path, start, length = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with open(path, "r+b") as file:
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, length, start)
"""


def is_locked(path: Path) -> bool:
    """Whether another process sees that the database is in use."""
    tried = subprocess.run(  # noqa: S603  # our own program
        [sys.executable, "-c", _LOCK, str(path), *map(str, READERS_BYTES)], check=False, capture_output=True
    )
    return tried.returncode != 0


def journal(path: Path) -> None:
    journal = SqliteJournal(path)
    opened(journal, intent(os.urandom(8)))
    journal.stop()


def rows(path: Path) -> None:
    row = UploadRow(
        provider="kimi",
        provider_file_id=uuid.uuid4().hex,
        supabase_file_id="object-1",
        sha256="0" * 64,
        filename="report.txt",
        file_size_bytes=1,
        upload_status="completed",
        upload_method="test",
    )
    LocalRows(path).write(row)


def guard(path: Path) -> None:
    GuardStore(path).decide(
        DecisionRecord(at=0.0, migration="m", action="hold", by="a test", sentence="Held."), due=False
    )


def undo_journal(path: Path) -> None:
    limits = UndoLimits(objects=100, hourly_bytes=1000)
    assert UndoJournal(path, limits).begin(uuid.uuid4().hex, {}, objects=1, size=1) is None


def metrics(path: Path) -> None:
    write_samples(path, [ProcessSample(at=0.0, process="web-1:1", memory=1, memory_limit=2)])


@pytest.mark.parametrize("write_to", [journal, rows, guard, undo_journal, metrics])
def test_writing_gives_up_no_lock(write_to: Callable[[Path], None], tmp_path: Path) -> None:
    """A process loses all its locks on a file when it closes any handle of it; another one would take it for unused."""
    path = tmp_path / "state" / "file.db"
    path.parent.mkdir(mode=0o700)
    write_to(path)
    with closing(sqlite3.connect(path)) as reader:
        reader.execute("SELECT * FROM sqlite_master").fetchall()
        assert is_locked(path)
        write_to(path)
        assert is_locked(path)
    assert oct(path.stat().st_mode & 0o777) == "0o600"
