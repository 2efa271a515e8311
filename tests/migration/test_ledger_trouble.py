"""The ledger's troubles are never the caller's, and lost records are counted where people look."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from migration import Migration, Runtime, Side, migrate
from migration.model import StoreError
from migration.store import Ledger, LedgerReader
from migration.testing import FixedRouter
from tests.migration.helpers import run_script
from tests.migration.ledgers import compare, record


def test_an_unwritable_place_costs_records_and_no_call(tmp_path: Path, router: FixedRouter) -> None:
    """Below a regular file nothing can be made: calls go on, every record is counted as lost, and it can be read."""
    (tmp_path / "file").touch()
    ledger = Ledger(tmp_path / "file" / "shim.db")
    runtime = Runtime(router=router, observers=[ledger])
    f = migrate(Migration(name="m", candidate="a:b"), runtime=runtime)(lambda: "old")
    assert [f() for _ in range(10)] == ["old"] * 10
    assert ledger.flush()
    assert ledger.lost == 21, "two records of each call, and one of the place that calls"
    assert runtime.observers.failures == {}
    assert ledger.comparisons() == []
    runtime.close()


def test_a_full_queue_loses_records_and_says_how_many(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the writer cannot keep up, recording never waits: another process holds the file."""
    monkeypatch.setattr("migration.store.writer.MAX_WAITING", 10)
    ledger = Ledger(path)
    compare(ledger)
    assert ledger.flush()
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    for _ in range(100):
        compare(ledger)
    assert ledger.lost >= 100 - 10 - 10
    assert not ledger.flush(timeout=0.05)
    holder.execute("COMMIT")
    holder.close()
    assert ledger.flush()
    assert len(ledger.comparisons()) == 101 - ledger.lost
    losses = LedgerReader(path).losses()
    assert losses is not None
    assert losses.records == ledger.lost


def test_a_writer_recovers(tmp_path: Path) -> None:
    """When the trouble is over, later records are kept."""
    obstacle = tmp_path / "state"
    obstacle.touch()
    ledger = Ledger(obstacle / "shim.db")
    compare(ledger)
    assert ledger.flush()
    assert ledger.lost == 1
    obstacle.unlink()
    assert ledger.losses() is None
    compare(ledger)
    assert ledger.flush()
    assert len(ledger.comparisons()) == 1
    losses = LedgerReader(ledger.path).losses()
    assert losses is not None
    assert losses.records == 1


def test_a_corrupt_file_is_a_typed_error_for_readers_and_none_for_callers(ledger: Ledger, path: Path) -> None:
    """The error names the file; recording into it is counted as lost."""
    path.parent.mkdir()
    path.write_bytes(b"this is not a database" * 1000)
    for read in (ledger.comparisons, lambda: ledger.status("m")):
        with pytest.raises(StoreError, match=r"shim\.db cannot be used: file is not a database"):
            read()
    compare(ledger)
    assert ledger.flush()
    assert ledger.lost == 1


def test_hostile_values_cost_at_most_their_own_record(ledger: Ledger) -> None:
    """File names in a foreign encoding are kept readable; a number that SQLite cannot hold is lost alone."""
    compare(ledger, detail="File not found: \udcff\udcfe.txt")
    record(ledger, Side.LEGACY, size=2**70)
    record(ledger, Side.LEGACY)
    compare(ledger, detail="after")
    assert ledger.flush()
    assert [row.detail for row in ledger.comparisons()] == ["after", r"File not found: \udcff\udcfe.txt"]
    assert ledger.status("m").sides[Side.LEGACY].calls == 1
    assert ledger.lost == 1


WRITER = """
import pathlib, sys
from migration import *
from migration.model import *
from migration.routing import *
from migration.running import *
from migration.shadow import *
from migration.store import *
from migration.testing import FixedRouter
ledger = Ledger(pathlib.Path(sys.argv[1]))
runtime = Runtime(router=FixedRouter(shadow=True), observers=[ledger])
f = migrate(Migration(name="m", candidate="a:b"), runtime=runtime)(lambda: "old")
for number in range(100):
    f()
    if number % 10 == 0:
        assert ledger.flush()
runtime.close()
assert ledger.flush(20)
print(ledger.lost)
"""


async def test_processes_share_one_file(path: Path) -> None:
    """Six processes that begin at once, none finding the file made, lose nothing."""
    printed = await asyncio.gather(*(asyncio.to_thread(run_script, WRITER, str(path)) for _ in range(6)))
    assert [int(line) for line in printed] == [0] * 6
    standing = Ledger(path).status("m")
    assert standing.sides[Side.LEGACY].calls == 600
    assert standing.verdicts == {"dropped": 600}


def test_a_forked_child_writes_as_well(path: Path) -> None:
    """The writing thread stays with the parent; the child has its own, and neither writes the other's records."""
    printed = run_script(
        WRITER
        + """
import os, warnings
warnings.simplefilter("ignore", DeprecationWarning)
runtime = Runtime(router=FixedRouter(), observers=[ledger])
f = migrate(Migration(name="m", candidate="a:b"), runtime=runtime)(lambda: "old")
f()
child = os.fork()
for _ in range(10):
    f()
assert ledger.flush(20)
if child == 0:
    os._exit(ledger.lost)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
print(ledger.status("m").sides[Side.LEGACY].calls)
""",
        str(path),
    )
    assert printed.split() == ["0", "121"]
