"""What `shim status` says of the journal."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tools.journal.conftest import World
from tests.tools.journal.making import intent, opened
from tools.application import sections
from tools.journal.port import State
from tools.settings import Settings, use_settings


def test_a_quiet_journal_needs_no_attention(world: World) -> None:
    """Its place and its figures are told."""
    opened(world.journal, intent())
    [(line, wanting)] = sections()["journal"].lines
    figures = "1 in flight, 0 left by processes that died, 0 of unknown outcome"
    assert line == f"journal: SQLite, {world.settings.uploads_db}: {figures}"
    assert not wanting


def test_what_is_to_be_done_is_said(world: World) -> None:
    """Unknown outcomes, with the command that resolves them, and uploads that went on without the journal."""
    opened(world.journal, intent(upload_id="unknown"))
    world.journal.close("unknown", State.UNKNOWN)
    world.journal.count_unjournaled()
    section = sections()["journal"]
    report = section.data
    assert (report["unknown"], report["left"], report["unjournaled"]) == (1, 0, 1)
    lines = section.lines
    assert [wanting for _, wanting in lines] == [True] * 3
    assert "1 of unknown outcome" in lines[0][0]
    assert "shim reconcile" in lines[1][0]
    assert "1 uploads went on without it" in lines[2][0]


@pytest.mark.parametrize("spoiled", ["a folder that is none", "a file that is none"])
def test_a_journal_that_cannot_be_used_is_said(tmp_path: Path, spoiled: str) -> None:
    """With the reason, and that uploads go on."""
    home = tmp_path / "home"
    if spoiled == "a folder that is none":
        home.write_text("no folder")
    else:
        home.mkdir()
        (home / "uploads.db").write_text("no database, and long enough to be told from an empty one" * 100)
    with use_settings(Settings(shim_home=home)):
        section = sections()["journal"]
    [(line, wanting)] = section.lines
    assert section.data["under_way"] is None
    assert wanting
    assert "cannot be used" in line
    assert "uploads go on without it" in line
