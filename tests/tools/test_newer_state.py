"""What a newer version of this program wrote lets legacy serve, and is said."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from flags import FileFlagAdmin
from migration import Side
from migration.guard import DecisionRecord, GuardStore
from shim.wiring import decision_now
from tests.migration.helpers import eventually
from tests.tools.journal.making import intent, opened
from tools.application import app, sections
from tools.journal.sqlite import SqliteJournal
from tools.settings import Settings, use_settings

KIMI = "kimi-upload"


def write_as_newer(path: Path, by: int) -> None:
    """Let the file's version be higher by so much."""
    with closing(sqlite3.connect(path)) as database, database:
        [known] = database.execute("PRAGMA user_version").fetchone()
        database.execute(f"PRAGMA user_version = {known + by}")


@pytest.mark.parametrize("name", ["uploads.db", "shim.db"])
def test_a_newer_file_lets_legacy_serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Every call, although the flag says 100 %, until the file can be used; the decision and the status say why."""
    monkeypatch.setattr("migration.guard.worker.ROUND_SECONDS", 0.02)
    settings = Settings(shim_home=tmp_path / "home")
    flags = FileFlagAdmin(settings.flags_file)
    flags.ensure(KIMI)
    flags.set_percentage(KIMI, 100)
    journal = SqliteJournal(settings.uploads_db)
    opened(journal, intent())
    journal.stop()
    record = DecisionRecord(at=0.0, migration="other", action="hold", by="a test", sentence="Held.")
    GuardStore(settings.shim_db).decide(record)
    with use_settings(settings), app.running(settings) as installation:
        assert decision_now(installation.guard, KIMI).serve is Side.CANDIDATE
    write_as_newer(settings.shim_home / name, 1)
    with use_settings(settings), app.running(settings) as installation:
        decision = decision_now(installation.guard, KIMI)
        assert decision.serve is Side.LEGACY
        assert name in str(decision.error)
        assert "update this program, and do not move the file" in str(decision.error)
        if name == "uploads.db":
            [(line, wanting)] = sections()["journal"].lines
            assert wanting
            assert "legacy serves every call" in line
        write_as_newer(settings.shim_home / name, -1)
        assert eventually(lambda: decision_now(installation.guard, KIMI).serve is Side.CANDIDATE)
