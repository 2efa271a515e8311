"""Which journal is used, and how often a file was sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from shim.http import attempts
from shim.http.attempts import Attempts
from tools.journal import factory, get_journal
from tools.journal.sqlite import SqliteJournal
from tools.journal.supabase import SupabaseJournal
from tools.settings import Settings


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Journals of this test are forgotten with it."""
    monkeypatch.setattr(factory, "_journals", factory._journals.__class__())


def test_without_configuration_it_is_a_file(tmp_path: Path) -> None:
    """One instance serves all uploads of a process, and lies in `SHIM_HOME`."""
    settings = Settings(shim_home=tmp_path)
    journal = get_journal(settings)
    assert isinstance(journal, SqliteJournal)
    assert journal.path == tmp_path / "uploads.db"
    assert get_journal(Settings(shim_home=tmp_path)) is journal
    assert get_journal(Settings(shim_home=tmp_path / "other")) is not journal


def test_with_supabase_it_is_shared(tmp_path: Path) -> None:
    """Where Supabase is configured its Postgres has the journal; half a configuration is none."""
    url = "http://127.0.0.1:9"
    both = Settings(shim_home=tmp_path, supabase_url=url, supabase_service_role_key="sb_secret_test")
    assert isinstance(get_journal(both), SupabaseJournal)
    assert isinstance(get_journal(Settings(shim_home=tmp_path / "half", supabase_url=url)), SqliteJournal)


def test_a_bounded_number_of_journals_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that was used least recently makes room."""
    monkeypatch.setattr(factory, "MAX_JOURNALS", 3)
    homes = [Settings(shim_home=tmp_path / str(number)) for number in range(4)]
    first, second = get_journal(homes[0]), get_journal(homes[1])
    get_journal(homes[2])
    assert get_journal(homes[0]) is first
    get_journal(homes[3])
    assert len(factory._journals) == 3
    assert get_journal(homes[0]) is first
    assert get_journal(homes[1]) is not second


def test_a_bounded_number_of_attempts_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more it is not known what they made."""
    monkeypatch.setattr(attempts, "MAX_ATTEMPTS", 2)
    counted = Attempts()
    for _ in range(2):
        counted.begin().status = 400
    assert not counted.leave_doubt(failed=True)
    counted.begin().status = 400
    assert counted.count == 2
    assert counted.leave_doubt(failed=True)


@pytest.mark.parametrize(
    ("status", "settled", "failed", "doubt"),
    [
        (None, False, True, True),
        (None, True, True, False),
        (500, False, False, True),
        (408, False, False, True),
        (429, False, True, False),
        (404, False, True, False),
        (200, False, False, False),
        (200, False, True, True),
        (200, True, True, False),
    ],
)
def test_what_leaves_doubt(*, status: int | None, settled: bool, failed: bool, doubt: bool) -> None:
    """No answer, a failed server, or a success that brought no id; a refusal does not, nor does what was settled."""
    counted = Attempts()
    attempt = counted.begin()
    attempt.status, attempt.settled = status, settled
    assert counted.leave_doubt(failed=failed) is doubt
