"""What the journal's file may meet: a killed process, a lock, a full disk, a folder that cannot be used, a fork."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.tools.journal.making import SECONDS, intent, opened
from tools.journal import sqlite
from tools.journal.port import Held, JournalError, Opened, State
from tools.journal.sqlite import SqliteJournal

_OPENS = """
import sys, time
from pathlib import Path
from tests.tools.journal.making import intent, opened
from tools.journal.sqlite import SqliteJournal
opened(SqliteJournal(Path(sys.argv[1])), intent())
print("open", flush=True)
time.sleep(60)
"""
_FULL = 2
"""SQLite's `PRAGMA synchronous` when each transaction is brought to the disk."""


@pytest.fixture
def journal(tmp_path: Path) -> SqliteJournal:
    return SqliteJournal(tmp_path / "home" / "journal.db")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another process is writing, and does not end."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def sound(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as database:
        return bool(database.execute("PRAGMA integrity_check").fetchone() == ("ok",))


def test_an_intent_outlives_its_process(journal: SqliteJournal) -> None:
    """A process that is killed in the moment in which the journal has answered leaves its intent."""
    with subprocess.Popen([sys.executable, "-c", _OPENS, str(journal.path)], stdout=subprocess.PIPE) as child:  # noqa: S603  # our own program
        assert child.stdout is not None
        assert child.stdout.readline() == b"open\n"
        child.send_signal(signal.SIGKILL)
    [left] = journal.unfinished()
    assert left.state is State.INTENDED
    assert journal.take_over(left.intent.upload_id) is not None
    assert sound(journal.path)


def test_what_is_waited_for_reaches_the_disk(journal: SqliteJournal) -> None:
    """An intent survives a loss of power, too."""
    opened(journal, intent())
    assert journal._answer(lambda database: database.execute("PRAGMA synchronous").fetchone()[0]) == _FULL


async def test_a_locked_file_never_blocks_the_loop(journal: SqliteJournal) -> None:
    """While the journal waits for another process's transaction, everything else goes on; then it gives up."""
    opened(journal, intent())
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.005)
            ticks += 1

    ticking = asyncio.create_task(tick())
    with locked(journal.path), pytest.raises(JournalError, match="locked"):
        await asyncio.wrap_future(journal.open(intent(b"other"), overlapping=0))
    ticking.cancel()
    assert ticks > 20


def test_notes_wait_for_a_locked_file(journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be written is written when it can be, in its order, so no claim is left status."""
    journal._writer.write_timeout = 0.02
    monkeypatch.setattr("migration.store.writer.RETRY_SECONDS", 0.02)
    wanted = intent()
    opened(journal, wanted)
    with locked(journal.path):
        journal.note(wanted.upload_id, State.STORED)
        journal.note(wanted.upload_id, State.SENDING)
        journal.close(wanted.upload_id, State.DONE)
        assert not journal.flush(SECONDS)
    assert journal.flush(SECONDS)
    assert journal.unfinished() == []


def test_who_gave_up_waiting_claims_nothing(journal: SqliteJournal) -> None:
    """A request that was cancelled before its turn is not carried out."""
    opened(journal, intent())
    with locked(journal.path):
        ahead = journal.open(intent(b"ahead"), overlapping=0)
        while not ahead.running():
            pass
        assert journal.open(intent(b"other"), overlapping=0).cancel()
        with pytest.raises(JournalError):
            ahead.result(SECONDS)
    assert journal.flush(SECONDS)
    assert opened(journal, intent(b"other")) == Opened()


@pytest.mark.parametrize("where", ["file/journal.db", "full/journal.db", "/proc/shim/journal.db"])
def test_a_place_that_cannot_be_used(tmp_path: Path, where: str, caplog: pytest.LogCaptureFixture) -> None:
    """A caller that asks is told so, by name; it is logged once, and nothing else fails."""
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "journal.db").symlink_to("/dev/full")
    journal = SqliteJournal(tmp_path / where)
    for _ in range(3):
        with pytest.raises(JournalError, match=r"journal\.(db|owners)"):
            opened(journal, intent())
    journal.note("x", State.DONE)
    journal.close("x", State.DONE)
    journal.count_unjournaled()
    assert not journal.flush(SECONDS)
    assert len([record for record in caplog.records if "uploads go on without it" in record.message]) == 1


def test_a_full_file_takes_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond its bound the journal refuses intents, keeps what it has, and still takes what ends uploads."""
    monkeypatch.setattr(sqlite, "MAX_BYTES", 128 * 1024)
    monkeypatch.setattr(sqlite, "MEASURE_EVERY", 10)
    journal = SqliteJournal(tmp_path / "journal.db")
    held = 0
    while journal.open(intent(b"%d" % held, upload_id=str(held)), overlapping=0).exception(SECONDS) is None:
        held += 1
    with pytest.raises(JournalError, match="full"):
        opened(journal, intent(b"one more"))
    assert held > 20
    assert len(journal.unfinished()) == held
    journal.close("0", State.DONE)
    assert journal.flush(SECONDS)
    assert len(journal.unfinished()) == held - 1
    assert journal.path.stat().st_size <= 256 * 1024


def test_the_disk_is_full(tmp_path: Path) -> None:
    """A process that may write no more is told so, and the file stays sound for the others."""
    program = (
        "import resource, sys\nfrom pathlib import Path\nfrom tests.tools.journal.making import intent, opened\n"
        "from tools.journal.port import JournalError\nfrom tools.journal.sqlite import SqliteJournal\n"
        "journal = SqliteJournal(Path(sys.argv[1]))\nopened(journal, intent(b'first'))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "for number in range(1000):\n"
        "    try:\n        opened(journal, intent(b'%d' % number))\n"
        "    except JournalError as error:\n        print(error)\n        break\n"
    )
    journal = SqliteJournal(tmp_path / "journal.db")
    child = subprocess.run(  # noqa: S603  # our own program
        [sys.executable, "-B", "-c", program, str(journal.path)], check=True, capture_output=True, text=True
    )
    assert "cannot be used" in child.stdout
    assert opened(journal, intent(b"first")) == Opened()
    assert sound(journal.path)


def test_another_version_of_the_program_is_left_alone(journal: SqliteJournal) -> None:
    """Tables of another version are not touched."""
    journal.path.parent.mkdir(parents=True)
    with closing(sqlite3.connect(journal.path)) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(JournalError, match="update this program, and do not move the file"):
        opened(journal, intent())


def test_a_removed_folder_is_made_anew_for_intents_only(journal: SqliteJournal) -> None:
    """Notes about what was removed with the folder bring nothing back."""
    wanted = intent()
    opened(journal, wanted)
    first_owner = journal.owner
    shutil.rmtree(journal.path.parent)
    journal.close(wanted.upload_id, State.DONE)
    journal._writer.ask(lambda _: None).cancel()
    journal._writer.tell(lambda _: None)
    while journal._writer._waiting:
        pass
    assert not journal.path.exists()
    assert opened(journal, intent()) == Opened()
    assert journal.owner != first_owner
    assert isinstance(opened(SqliteJournal(journal.path), intent()), Held)


def test_a_bounded_number_waits(journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond it, who would wait is told so at once, and what no caller waits for is lost."""
    monkeypatch.setattr("migration.store.writer.MAX_WAITING", 5)
    opened(journal, intent())
    with locked(journal.path):
        ahead = journal.open(intent(b"ahead"), overlapping=0)
        while not ahead.running():
            pass
        for _ in range(9):
            journal.note("x", State.STORED)
        assert len(journal._writer._waiting) == 5
        refused = journal.open(intent(b"one more"), overlapping=0)
        assert refused.done()
        with pytest.raises(JournalError, match="too much"):
            refused.result()
        with pytest.raises(JournalError):
            ahead.result(SECONDS)
    while journal._writer._waiting:
        pass
    assert opened(journal, intent(b"one more")) == Opened()


def test_an_idle_journal_keeps_neither_thread_nor_file(journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    """They come back with the next upload."""
    monkeypatch.setattr("migration.store.writer.IDLE_SECONDS", 0.02)
    for number in range(3):
        assert opened(journal, intent(b"%d" % number)) == Opened()
        thread = journal._writer._thread
        if thread is not None:
            thread.join(SECONDS)
        assert journal._writer._connection is None
        assert not any(link.resolve() == journal.path for link in Path("/proc/self/fd").iterdir())


def test_a_fork_shares_nothing(journal: SqliteJournal) -> None:
    """In the middle of work parent and child each go on under a name of their own, and the file stays sound."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def work() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            try:
                opened(journal, intent(b"parent %d" % number, upload_id=f"parent {number}"))
            except JournalError as error:
                failures.append(error)
            journal.close(f"parent {number}", State.DONE)

    worker = threading.Thread(target=work)
    worker.start()
    codes = []
    for child in range(10):
        pid = os.fork()
        if pid == 0:
            os._exit(_child(journal, child))
        codes.append(os.waitpid(pid, 0)[1])
    stop.set()
    worker.join()
    assert codes == [0] * 10
    assert failures == []
    assert sound(journal.path)
    left = [entry.intent.upload_id for entry in journal.unfinished()]
    assert left == [f"child {child}" for child in range(10)]
    assert all(journal.take_over(upload_id) is not None for upload_id in left)


def _child(journal: SqliteJournal, number: int) -> int:
    try:
        answer = opened(journal, intent(b"child %d" % number, upload_id=f"child {number}"))
    except JournalError:
        return 1
    return 0 if answer == Opened() else 2
