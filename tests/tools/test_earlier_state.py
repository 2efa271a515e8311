"""State that the version before `shim.db` and `uploads.db` kept in six files is all there when a process opens it.

`tests/fixtures/earlier_state` holds what that version wrote: calls and comparisons, a tripped guard, a rollout that
runs, two open shadows, samples of a process, three uploads in the journal, and a row of the embedded storage.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from migration import Side
from migration.guard import Guard, GuardStore
from migration.model import StoreRefusedError
from migration.rollout import RolloutPhase, RolloutStore
from migration.shadow import UndoJournal, UndoLimits
from migration.store import Ledger, LedgerReader
from shim.process_metrics import ProcessMetricsReader
from tests.migration.guard.switching import Flags, ShareRouter
from tests.migration.helpers import ROOT, eventually, run_script
from tests.migration.ledgers import call, compare
from tests.tools.storage.rows import ROW
from tools.journal.port import Facts, State
from tools.journal.sqlite import SqliteJournal
from tools.storage.local import LocalStorage

EARLIER = ROOT / "tests" / "fixtures" / "earlier_state"

READS = """
import sys
from pathlib import Path
from migration.guard import GuardStore
from tools.journal.sqlite import SqliteJournal
home = Path(sys.argv[1])
print(len(GuardStore(home / "shim.db").statuses()), len(SqliteJournal(home / "uploads.db").unfinished()))
"""

DIES = """
import os, signal, sys
from pathlib import Path
from migration.guard import GuardStore
from migration.store import shim_db
copy_rows, copied = shim_db.copy_rows, []
def copy_and_die(source, *arguments, **options):
    if copied:
        os.kill(os.getpid(), signal.SIGKILL)
    copied.append(source)
    copy_rows(source, *arguments, **options)
shim_db.copy_rows = copy_and_die
GuardStore(Path(sys.argv[1]) / "shim.db").statuses()
"""

FULL = """
import resource, sys
from pathlib import Path
from migration.guard import Guard, GuardStore
from tests.migration.guard.switching import Flags, ShareRouter
from tests.migration.ledgers import call
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
guard = Guard(ShareRouter(1.0), store=GuardStore(Path(sys.argv[1]) / "shim.db"), switch=Flags())
decision = guard.decide(call())
print(decision.serve, decision.error)
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return Path(shutil.copytree(EARLIER, tmp_path / "home"))


def rows_of(path: Path) -> dict[str, int]:
    """How many rows each table of a file has."""
    with closing(sqlite3.connect(path)) as database:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: database.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in names}  # noqa: S608  # its own names


def check_ledger(home: Path) -> None:
    ledger = LedgerReader(home / "shim.db")
    status = ledger.status("m")
    assert (status.sides[Side.CANDIDATE].calls, status.sides[Side.LEGACY].errors) == (3, {"OSError": 1})
    assert status.decision is not None
    assert (status.decision["probability"], status.notices) == (0.25, {"fell_back": 1})
    newest, oldest = ledger.comparisons("m")
    assert (newest.differences[0].field, newest.call_id, oldest.detail) == ("result.id", "u", "first")
    assert [sample.candidate for _, sample in ledger.noise_samples("m")] == [("result.id",)]
    assert [caller.file for caller in ledger.callers()] == ["f.py"]
    losses = ledger.losses()
    assert losses is not None
    assert losses.records == 1


def check_guard(home: Path) -> None:
    store = GuardStore(home / "shim.db")
    tripped, resumed = store.statuses()["tripped"], store.statuses()["resumed"]
    assert tripped.tripped_by is not None
    assert (tripped.carried_out, resumed.tripped_by, resumed.epoch) == (False, None, 77)
    record = store.record(tripped.tripped_by)
    assert record is not None
    assert (record.action, record.sentence, len(record.calls)) == ("rollback", "Too many errors.", 1)
    evidence, last = store.recall(migration="tripped", epoch=0)
    assert (evidence.calls, last) == (5, 5)
    assert [result.things for result in store.made("tripped", since=0.0)] == [({"file_id": "f-1"},)]


def check_rollout(home: Path) -> None:
    rollout = RolloutStore(home / "shim.db").rollout("m")
    assert rollout is not None
    assert (rollout.phase, rollout.stage, rollout.opened) == (RolloutPhase.RUNNING, 0, True)


def check_shadows(home: Path) -> None:
    journal = UndoJournal(home / "shim.db", UndoLimits(objects=2, hourly_bytes=100), now=lambda: 1001.0)
    assert {each.mark: each.things for each in journal.left()} == {"open-mark": ("thing-1",), "left-mark": ()}
    assert journal.begin("another", {}, objects=1, size=1) is not None, "the quota counts what was open"


def check_metrics(home: Path) -> None:
    reader = ProcessMetricsReader(home / "shim.db")
    [sample] = reader.processes(since=0)
    assert (sample.process, sample.lost) == ("web-1:1", 6)
    assert [each.side for each in reader.calls("m", since=0)] == [Side.CANDIDATE]
    assert [each.percent for each in reader.shares("m", since=0)] == [25.0]
    assert [each.attributes for each in reader.roots(limit=9)] == [{"n": 1}]


def check_uploads(home: Path) -> None:
    journal = SqliteJournal(home / "uploads.db")
    unfinished, unknown = journal.unfinished()
    assert (unfinished.intent.upload_id, unfinished.intent.filename) == ("unfinished", "report-\udcff.txt")
    assert (unfinished.state, unfinished.facts) == (State.SENDING, Facts(supabase_file_id="object-1"))
    assert (unknown.state, unknown.facts.error) == (State.UNKNOWN, "TimeoutError")
    status = journal.status()
    assert (status.left, status.unknown, status.unjournaled) == (1, 1, 1)
    assert journal.take_over("unfinished") is not None
    journal.stop()
    row = LocalStorage(home / "storage", home / "uploads.db").find_upload(sha256=ROW.sha256, provider="kimi")
    assert row is not None
    assert (row.provider_file_id, row.filename) == (ROW.provider_file_id, ROW.filename)


CHECKS = (check_ledger, check_guard, check_rollout, check_shadows, check_metrics, check_uploads)


@pytest.mark.parametrize("check", CHECKS)
def test_every_row_is_found_again(check: Callable[[Path], None], home: Path) -> None:
    """Whatever opens the state first, also a command that only reads; the earlier files stay as they are."""
    check(home)
    for path in EARLIER.rglob("*.db"):
        assert (home / path.relative_to(EARLIER)).read_bytes() == path.read_bytes()


def test_no_row_is_left_behind_or_doubled(home: Path) -> None:
    """Each table has as many rows as before, and opening the files again adds none."""
    earlier = [rows_of(path) for path in EARLIER.rglob("*.db")]
    expected = sum(sum(rows.values()) - rows.get("sqlite_sequence", 0) for rows in earlier)
    for _ in range(2):
        assert run_script(READS, str(home)) == "2 2\n"
        found = [rows_of(home / name) for name in ("shim.db", "uploads.db")]
        assert sum(sum(rows.values()) - rows.get("sqlite_sequence", 0) for rows in found) == expected


async def test_processes_that_start_at_once_take_it_over_once(home: Path) -> None:
    """Six of them find everything, and nothing is there twice."""
    printed = await asyncio.gather(*(asyncio.to_thread(run_script, READS, str(home)) for _ in range(6)))
    assert set(printed) == {"2 2\n"}
    assert rows_of(home / "shim.db")["records"] == 3


def test_a_process_that_is_killed_half_way_leaves_it_to_the_next(home: Path) -> None:
    """What it had copied is not there, and the next one copies everything."""
    killed = subprocess.run([sys.executable, "-c", DIES, str(home)], cwd=ROOT, check=False)  # noqa: S603  # our own program
    assert killed.returncode == -signal.SIGKILL
    check_ledger(home)
    check_guard(home)


def test_a_full_disk_lets_legacy_serve(home: Path) -> None:
    """A sentence says what to do; with room again everything is there."""
    printed = run_script(FULL, str(home))
    assert printed.startswith("legacy ")
    assert "make room" in printed
    check_guard(home)
    check_rollout(home)


def test_a_damaged_file_is_named_and_lets_legacy_serve(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are not taken over without it; moved away, the rest is."""
    monkeypatch.setattr("migration.guard.worker.ROUND_SECONDS", 0.02)
    (home / "vitals.db").write_bytes(b"no database" * 1000)
    with pytest.raises(StoreRefusedError, match=r"vitals\.db cannot be taken over.* move that file away"):
        GuardStore(home / "shim.db").statuses()
    guard = Guard(ShareRouter(1.0), store=GuardStore(home / "shim.db"), switch=Flags())
    assert guard.decide(call()).serve is Side.LEGACY
    (home / "vitals.db").unlink()
    assert eventually(lambda: guard.decide(call()).serve is Side.CANDIDATE)
    assert guard.tripped == {"tripped"}
    guard.close()


def test_a_living_process_of_the_earlier_version_keeps_its_upload(home: Path) -> None:
    """It holds its lock in the same file, so its claim is not taken for that of a dead one."""
    with closing(sqlite3.connect(home / "journal.db")) as database, database:
        database.execute("UPDATE upload_intents SET owner = '4711' WHERE upload_id = 'unfinished'")
    holds = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX, 1, 4711); print(); input()"
    with subprocess.Popen(  # noqa: S603  # our own program
        [sys.executable, "-c", holds, str(home / "journal.owners")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        other.stdout.readline()
        journal = SqliteJournal(home / "uploads.db")
        assert journal.take_over("unfinished") is None
        other.stdin.write(os.linesep.encode())
        other.stdin.close()
        other.wait(10)
    assert journal.take_over("unfinished") is not None
    journal.stop()


def test_ids_go_on_where_they_were(home: Path) -> None:
    """No number of a decision or a comparison is given twice, also not that of one that was forgotten."""
    with closing(sqlite3.connect(home / "ledger.db")) as database, database:
        database.execute("DELETE FROM comparisons")
    ledger = Ledger(home / "shim.db", now=lambda: 1000.0)
    compare(ledger)
    assert ledger.flush()
    assert [each.id for each in ledger.comparisons()] == [3]
