"""The journal of live shadows: written before anything is made, read by whoever cleans up."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration.model import StoreError
from migration.shadow import UndoIntent, UndoJournal, UndoLimits, UndoState
from tests.migration.helpers import ROOT, run_script

LIMITS = UndoLimits(objects=3, hourly_bytes=100)
WHERE = {"shelf": "top"}


def begin(journal: UndoJournal, mark: str, *, objects: int = 1, size: int = 10) -> str | None:
    return journal.begin(mark, WHERE, objects=objects, size=size)


@pytest.fixture
def journal(tmp_path: Path) -> UndoJournal:
    return UndoJournal(tmp_path / "state" / "shim.db", LIMITS, now=lambda: 1000.0)


def test_what_is_under_way_is_not_left(journal: UndoJournal) -> None:
    """What a living process works on is nobody else's to clean up; what it could not undo is."""
    assert journal.left() == []
    assert begin(journal, "one") is None
    journal.note_made("one", "thing-1")
    assert journal.left() == []
    journal.end("one", UndoState.LEFT)
    expected = UndoIntent(mark="one", begun=1000.0, places=WHERE, state=UndoState.LEFT, things=("thing-1",))
    assert journal.left() == [expected]
    journal.end("one", UndoState.UNDONE)
    assert journal.left() == []


def test_the_file_is_private(journal: UndoJournal) -> None:
    """Nobody else reads where shadows are."""
    begin(journal, "one")
    for path in journal.path.parent.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


KILLED = """
import os, signal, sys
from pathlib import Path
from migration.shadow import UndoLimits, UndoJournal
journal = UndoJournal(Path(sys.argv[1]), UndoLimits(objects=9, hourly_bytes=9))
assert journal.begin(sys.argv[2], {}, objects=1, size=1) is None
journal.note_made(sys.argv[2], "thing")
print("begun", flush=True)
sys.stdin.read()
"""


def test_what_a_killed_process_began_is_left(journal: UndoJournal) -> None:
    """The moment it is dead, and not before; what it had made is known."""
    with subprocess.Popen(  # noqa: S603  # a program of the test's own
        [sys.executable, "-c", KILLED, str(journal.path), "theirs"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"begun\n"
        begin(journal, "ours")
        assert journal.left() == []
        other.send_signal(signal.SIGKILL)
        other.wait(10)
        [left] = journal.left()
    assert (left.mark, left.state, left.things) == ("theirs", UndoState.OPEN, ("thing",))


FORKED = """
import os, sys
from pathlib import Path
from migration.shadow import UndoLimits, UndoJournal
journal = UndoJournal(Path(sys.argv[1]), UndoLimits(objects=9, hourly_bytes=9))
journal.begin("parent's", {}, objects=1, size=1)
child = os.fork()
if child == 0:
    journal.begin("child's", {}, objects=1, size=1)
    assert journal.left() == []
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print([intent.mark for intent in journal.left()])
"""


def test_a_child_is_a_process_of_its_own(journal: UndoJournal) -> None:
    """What a forked child began is left when the child has ended, although its parent lives."""
    journal.path.parent.mkdir()
    assert run_script(FORKED, str(journal.path)) == '["child\'s"]\n'


def test_a_quota_counts_what_is_there(journal: UndoJournal) -> None:
    """No more than so many objects at once: what could not be undone counts, what is undone or kept does not."""
    assert begin(journal, "one", objects=2, size=0) is None
    journal.end("one", UndoState.LEFT)
    refusal = begin(journal, "two", objects=2, size=0)
    assert refusal is not None
    assert "2 of 3 objects" in refusal
    journal.end("one", UndoState.UNDONE)
    assert begin(journal, "three", objects=3, size=0) is None
    journal.end("three", UndoState.KEPT)
    assert begin(journal, "four", objects=3, size=0) is None


def test_a_quota_counts_the_bytes_of_an_hour(tmp_path: Path) -> None:
    """Also those of what was undone long ago, as long as it was made within the hour."""
    clock = [1000.0]
    journal = UndoJournal(tmp_path / "shim.db", LIMITS, now=lambda: clock[0])
    assert begin(journal, "one", size=60) is None
    journal.end("one", UndoState.UNDONE)
    refusal = begin(journal, "two", size=60)
    assert refusal is not None
    assert "60 of 100 bytes" in refusal
    clock[0] += 3601
    assert begin(journal, "three", size=60) is None


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 60), st.integers(0, 2000), st.booleans()), max_size=12))
def test_no_quota_is_ever_exceeded(steps: list[tuple[int, int, int, bool]]) -> None:
    """Whatever is begun and ended in whatever order."""
    with tempfile.TemporaryDirectory() as folder:
        clock = [1000.0]
        journal = UndoJournal(Path(folder) / "shim.db", LIMITS, now=lambda: clock[0])
        there: list[tuple[str, int]] = []
        made: list[tuple[float, int]] = []
        for number, (objects, size, wait, ends) in enumerate(steps):
            clock[0] += wait
            if begin(journal, str(number), objects=objects, size=size) is None:
                there.append((str(number), objects))
                made.append((clock[0], size))
            assert sum(objects for _, objects in there) <= LIMITS.objects
            assert sum(size for at, size in made if at > clock[0] - 3600) <= LIMITS.hourly_bytes
            if ends and there:
                journal.end(there.pop(0)[0], UndoState.UNDONE)


def test_a_journal_that_cannot_be_used_says_so(tmp_path: Path) -> None:
    """With its path, and nothing is begun."""
    path = tmp_path / "shim.db"
    path.write_bytes(b"no database at all, but long enough to be taken for one" * 50)
    with pytest.raises(StoreError, match=r"shim\.db"):
        begin(UndoJournal(path, LIMITS), "one")


def test_a_journal_of_another_version_is_left_alone(journal: UndoJournal) -> None:
    """It is not understood, and what stands in it is still to be undone."""
    begin(journal, "one")
    with sqlite3.connect(journal.path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(StoreError, match=r"a newer version .* update this program"):
        journal.left()


def test_many_processes_share_it(tmp_path: Path) -> None:
    """Each of those that begin at once finds the tables, and the quota holds for all together."""
    path = tmp_path / "shim.db"
    script = (
        "import sys; from pathlib import Path; from migration.shadow import UndoLimits, UndoJournal; "
        "journal = UndoJournal(Path(sys.argv[1]), UndoLimits(objects=5, hourly_bytes=9)); "
        "print(sum(journal.begin(f'{sys.argv[2]}-{n}', {}, objects=1, size=0) is None for n in range(3)), flush=True); "
        "sys.stdin.read()"
    )
    processes = [
        subprocess.Popen(  # noqa: S603  # a program of the test's own
            [sys.executable, "-c", script, str(path), str(number)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        for number in range(4)
    ]
    begun = 0
    for process in processes:
        assert process.stdout is not None
        begun += int(process.stdout.readline())
    for process in processes:
        process.communicate()
    assert begun == 5
