"""The ledger's file: private, of one version, bounded in rows, age and size."""

from __future__ import annotations

import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from migration import Side
from migration.model import Notice, NoticeKind, StoreError, Verdict
from migration.store import Ledger, LedgerReader
from migration.store.database import FIRST_VERSION
from tests.migration.ledgers import compare, comparison, record

DAY = 86_400.0


@pytest.fixture
def pruned_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("migration.store.ledger_writer.PRUNE_EVERY", 1)


def test_the_file_is_private(ledger: Ledger, path: Path) -> None:
    """Only its owner reads what was routed."""
    record(ledger, Side.LEGACY)
    assert ledger.flush()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_what_sqlite_puts_beside_it_is_private_too(ledger: Ledger, path: Path) -> None:
    """The write-ahead log holds the same rows as the file."""
    record(ledger, Side.LEGACY)
    assert ledger.flush()
    with closing(sqlite3.connect(path)) as other:
        other.execute("SELECT * FROM runs").fetchall()
        beside = sorted(path.parent.iterdir())
        assert len(beside) == 3
        assert {stat.S_IMODE(each.stat().st_mode) for each in beside} == {0o600}


def test_nothing_is_made_before_the_first_record(ledger: Ledger, path: Path) -> None:
    """Reading a ledger that does not exist finds an empty one and makes none."""
    assert ledger.flush()
    standing = ledger.status("m")
    assert (standing.decision, standing.verdicts, standing.notices) == (None, {}, {})
    assert standing.sides[Side.LEGACY].mean_seconds is None
    assert ledger.comparisons() == []
    assert not path.parent.exists()


def test_a_ledger_that_is_just_being_made_is_empty(ledger: Ledger, path: Path) -> None:
    """A reader between the making of the file and that of its tables finds nothing, not an error."""
    path.parent.mkdir()
    path.touch()
    assert ledger.comparisons() == []
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA journal_mode = WAL")
    database.close()
    assert path.stat().st_size > 0
    assert ledger.comparisons() == []
    assert ledger.status("m").decision is None


@pytest.mark.usefixtures("pruned_each_time")
def test_rows_are_bounded_in_number(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of comparisons and notices the newest stay."""
    monkeypatch.setattr("migration.store.ledger_writer.KEEP_ROWS", 5)
    for number in range(20):
        compare(ledger, detail=str(number))
        ledger.noticed(Notice(kind=NoticeKind.FELL_BACK, migration="m", text=str(number)))
    assert ledger.flush()
    assert [row.detail for row in ledger.comparisons()] == ["19", "18", "17", "16", "15"]
    assert ledger.status("m").notices == {"fell_back": 5}


def test_clearing_up_is_done_now_and_then(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process clears up with its first records and then after every so many, not at each transaction."""
    done: list[float] = []
    monkeypatch.setattr("migration.store.ledger_writer.PRUNE_EVERY", 10)
    monkeypatch.setattr("migration.store.ledger_writer.prune", lambda _database, *, now, days: done.append(now + days))
    ledger = Ledger(path, now=lambda: 1000.0, keep_days=7)
    for _ in range(25):
        compare(ledger)
        assert ledger.flush()
    assert done == [1007.0] * 3


@pytest.mark.usefixtures("pruned_each_time")
def test_rows_are_bounded_in_age(path: Path) -> None:
    """What is older than it may be goes when something is recorded, lost records that were noted included."""
    now = 1000 * DAY
    ledger = Ledger(path, keep_days=7, now=lambda: now)
    compare(ledger, detail="old")
    ledger.noticed(Notice(kind=NoticeKind.FELL_BACK, migration="m", text="old"))
    record(ledger, Side.LEGACY, size=2**70)
    assert ledger.flush()
    compare(ledger)
    assert ledger.flush()
    assert ledger.losses() is not None
    now += 8 * DAY
    compare(ledger, detail="new")
    assert ledger.flush()
    assert [each.detail for each in ledger.comparisons()] == ["new"]
    assert ledger.status("m").notices == {}
    assert ledger.losses() is None


@pytest.mark.usefixtures("pruned_each_time")
def test_comparisons_are_bounded_in_size(ledger: Ledger, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long rows push older ones out, and their room is used again."""
    monkeypatch.setattr("migration.store.ledger_writer.KEEP_BYTES", 400_000)
    for number in range(200):
        ledger.compared(comparison(Verdict.DIFFERENT, (f"result.n{number}", "a" * 5000, "b" * 5000)))
        assert ledger.flush()
    kept = [each.differences[0].field for each in ledger.comparisons()]
    assert 10 < len(kept) < 40
    assert path.stat().st_size <= 800_000, "the tables and indexes of an empty file take a tenth of it"
    assert kept == [f"result.n{199 - place}" for place in range(len(kept))]
    assert ledger.lost == 0


def test_what_does_not_fit_is_lost(ledger: Ledger, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without room for a transaction its records are counted as lost, and the next one makes room."""
    monkeypatch.setattr("migration.store.shim_db.MAX_BYTES", 300_000)
    compare(ledger, detail="before")
    assert ledger.flush()
    ledger.compared(comparison(Verdict.DIFFERENT, ("result.a", "a" * 300_000, "b")))
    assert ledger.flush()
    assert ledger.lost == 1
    assert path.stat().st_size <= 300_000
    compare(ledger, detail="after")
    assert ledger.flush()
    assert [each.detail for each in ledger.comparisons()] == ["after", "before"]


def test_one_row_is_bounded(ledger: Ledger) -> None:
    """Texts are cut, and a mask that covered thousands of fields is said once."""
    many = comparison(
        Verdict.DIFFERENT,
        ("result." + "x" * 5000, "1", "2"),
        detail="d" * 5000,
        masked=[f"a[{n}].b" for n in range(5000)],
    )
    ledger.compared(many)
    ledger.noticed(Notice(kind=NoticeKind.FELL_BACK, migration="m", text="t" * 5000))
    assert ledger.flush()
    [row] = ledger.comparisons()
    assert (len(row.detail), len(row.differences[0].field), row.masked) == (1000, 200, ("a[*].b",))


@pytest.mark.parametrize("version", [0, FIRST_VERSION - 1])
def test_a_file_of_another_version_is_left_alone(ledger: Ledger, path: Path, version: int) -> None:
    """Reading it is an error that says what to do; records are lost, and what it holds stays."""
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as other:
        other.executescript(f"CREATE TABLE comparisons (id INTEGER); PRAGMA user_version = {version};")
    for read in (ledger.comparisons, ledger.losses, lambda: ledger.status("m")):
        with pytest.raises(StoreError, match=rf"tables have version {version} .* move it away"):
            read()
    compare(ledger)
    assert ledger.flush()
    assert ledger.lost == 1
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT * FROM comparisons").fetchall() == []


def test_a_row_that_nobody_here_wrote_is_an_error(ledger: Ledger, path: Path) -> None:
    """A damaged row is named as the reason, not passed over."""
    compare(ledger)
    assert ledger.flush()
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("UPDATE comparisons SET differences = 'nonsense'")
    with pytest.raises(StoreError, match="holds a row that this program did not write"):
        LedgerReader(path).comparisons()
