"""The ledger records what happened on this machine, and its troubles are never the caller's."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from migration import (
    Call,
    CallSite,
    Comparison,
    Decision,
    Difference,
    Ledger,
    LedgerError,
    Migration,
    Notice,
    NoticeKind,
    Operation,
    Outcome,
    Reason,
    Role,
    Runtime,
    Side,
    Verdict,
    migrate,
)
from migration.testing import FixedRouter
from tests.migration.helpers import run_script

SITE = CallSite(function="f", file="f.py", line=1)
DECISION = Decision(
    serve=Side.CANDIDATE,
    probability=0.25,
    shadow_probability=0.5,
    reason=Reason.SPLIT,
    source="file",
    flag_version="v1",
)


def call(**attributes: str | int) -> Call:
    return Call(
        migration="m", function="pkg:f", unit="u", args=("SECRET",), kwargs={}, site=SITE, attributes=attributes
    )


def record(
    ledger: Ledger, side: Side | None, error: Exception | None = None, *, role: Role = Role.PRIMARY, size: int = 10
) -> None:
    operation = Operation(call=call(**{"file.size": size}), decision=DECISION, side=side, role=role)
    with ledger.operation(operation):
        operation.outcome = Outcome(side=side or Side.LEGACY, seconds=0.5, error=error)


def compare(ledger: Ledger, verdict: Verdict = Verdict.IDENTICAL, detail: str = "") -> None:
    ledger.compared(Comparison(call=call(), decision=DECISION, verdict=verdict, detail=detail))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    ledger = Ledger(path, now=lambda: 1000.0)
    yield ledger
    ledger.flush()


# What is recorded


def test_runs_are_counted_by_side_and_error(ledger: Ledger) -> None:
    """Calls, seconds and bytes by side; failures by type, without their bytes; shadows are not calls."""
    record(ledger, Side.LEGACY)
    record(ledger, Side.LEGACY, size=5)
    record(ledger, Side.CANDIDATE)
    record(ledger, Side.CANDIDATE, ValueError("a"))
    record(ledger, Side.CANDIDATE, ValueError("b"))
    record(ledger, Side.CANDIDATE, OSError("c"))
    record(ledger, Side.LEGACY, role=Role.SHADOW)
    assert ledger.flush()
    standing = ledger.standing("m")
    legacy, candidate = standing.sides[Side.LEGACY], standing.sides[Side.CANDIDATE]
    assert (legacy.calls, legacy.seconds, legacy.bytes, legacy.errors) == (2, 1.0, 15, {})
    assert (candidate.calls, candidate.bytes) == (4, 10)
    assert candidate.errors == {"ValueError": 2, "OSError": 1}
    assert (legacy.mean_seconds, candidate.mean_seconds) == (0.5, 0.5)


def test_the_last_decision_is_remembered(ledger: Ledger) -> None:
    """With its reason, its probabilities and the version of the flag."""
    record(ledger, None)
    assert ledger.flush()
    decision = ledger.standing("m").decision
    assert decision is not None
    assert (decision["at"], decision["serve"], decision["shadow"]) == (1000.0, "candidate", 0)
    assert (decision["probability"], decision["shadow_probability"]) == (0.25, 0.5)
    assert (decision["reason"], decision["source"], decision["flag_version"]) == ("split", "file", "v1")


def test_comparisons_are_kept_newest_first(ledger: Ledger) -> None:
    """With their differences and what the declaration shows of the call, never its arguments."""
    compare(ledger)
    ledger.compared(
        Comparison(
            call=call(provider="kimi"),
            decision=DECISION,
            verdict=Verdict.DIFFERENT,
            differences=(Difference(field="result.id", legacy="1", candidate="2"),),
            masked=("result.at",),
            primary_seconds=0.1,
            shadow_seconds=0.2,
            primary_trace="a",
            shadow_trace="b",
        )
    )
    assert ledger.flush()
    newest, oldest = ledger.comparisons("m")
    assert (oldest["verdict"], newest["verdict"]) == ("identical", "different")
    assert newest["differences"] == [["result.id", "1", "2"]]
    assert (newest["masked"], newest["attributes"]) == (["result.at"], {"provider": "kimi"})
    assert (newest["function"], newest["primary_side"], newest["flag_version"]) == ("pkg:f", "candidate", "v1")
    assert (newest["primary_seconds"], newest["shadow_seconds"]) == (0.1, 0.2)
    assert (newest["primary_trace"], newest["shadow_trace"]) == ("a", "b")
    assert "SECRET" not in repr(newest)
    assert ledger.comparisons("another") == []
    assert len(ledger.comparisons(limit=1)) == 1
    assert ledger.standing("m").verdicts == {"identical": 1, "different": 1}


def test_notices_are_counted_by_kind(ledger: Ledger) -> None:
    """An operator sees how often calls fell back."""
    for kind in (NoticeKind.FELL_BACK, NoticeKind.FELL_BACK, NoticeKind.BYPASSED):
        ledger.noticed(Notice(kind=kind, migration="m", text="text"))
    assert ledger.flush()
    assert ledger.standing("m").notices == {"fell_back": 2, "bypassed": 1}


def test_an_interrupted_run_is_not_counted(ledger: Ledger) -> None:
    """A run without an outcome is neither a success nor an error."""
    with (
        pytest.raises(KeyboardInterrupt),
        ledger.operation(Operation(call=call(), decision=DECISION, side=Side.LEGACY)),
    ):
        raise KeyboardInterrupt
    assert ledger.flush()
    assert ledger.standing("m").sides[Side.LEGACY].calls == 0


def test_calls_through_a_shim_are_recorded(ledger: Ledger, router: FixedRouter) -> None:
    """As an observer of a runtime it counts a failed candidate and the legacy run that served instead."""
    runtime = Runtime(router=router, observers=[ledger])
    f = migrate(Migration(name="m", candidate="no.such:thing"), runtime=runtime)(lambda: "old")
    router.serve = Side.CANDIDATE
    assert f() == "old"
    assert ledger.flush()
    standing = ledger.standing("m")
    assert standing.sides[Side.CANDIDATE].errors == {"CandidateUnavailableError": 1}
    assert (standing.sides[Side.LEGACY].calls, standing.sides[Side.LEGACY].errors) == (1, {})
    assert standing.notices == {"candidate_unavailable": 1}
    runtime.close()


# The file


def test_the_file_is_private(ledger: Ledger, path: Path) -> None:
    """Only its owner reads what was routed."""
    record(ledger, Side.LEGACY)
    assert ledger.flush()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_nothing_is_made_before_the_first_record(ledger: Ledger, path: Path) -> None:
    """Reading a ledger that does not exist finds an empty one and makes none."""
    assert ledger.flush()
    standing = ledger.standing("m")
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
    assert ledger.standing("m").decision is None


def test_the_file_is_bounded(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of comparisons and notices the newest stay."""
    monkeypatch.setattr("migration._ledger.KEEP_ROWS", 5)
    for number in range(20):
        compare(ledger, detail=str(number))
        ledger.noticed(Notice(kind=NoticeKind.FELL_BACK, migration="m", text=str(number)))
    assert ledger.flush()
    assert [row["detail"] for row in ledger.comparisons()] == ["19", "18", "17", "16", "15"]
    assert ledger.standing("m").notices == {"fell_back": 5}


# Trouble


def test_an_unwritable_place_costs_records_and_no_call(tmp_path: Path, router: FixedRouter) -> None:
    """Below a regular file nothing can be made: calls go on, every record is counted as lost, and it can be read."""
    (tmp_path / "file").touch()
    ledger = Ledger(tmp_path / "file" / "ledger.db")
    runtime = Runtime(router=router, observers=[ledger])
    f = migrate(Migration(name="m", candidate="a:b"), runtime=runtime)(lambda: "old")
    assert [f() for _ in range(10)] == ["old"] * 10
    assert ledger.flush()
    assert ledger.lost == 20
    assert runtime.observers.failures == {}
    assert ledger.comparisons() == []
    runtime.close()


def test_a_full_queue_loses_records_and_says_how_many(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the writer cannot keep up, recording never waits: another process holds the file."""
    monkeypatch.setattr("migration._ledger.QUEUE_SIZE", 10)
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
    assert len(ledger.comparisons(limit=1000)) == 101 - ledger.lost


def test_a_writer_recovers(tmp_path: Path) -> None:
    """When the trouble is over, later records are kept."""
    obstacle = tmp_path / "state"
    obstacle.touch()
    ledger = Ledger(obstacle / "ledger.db")
    compare(ledger)
    assert ledger.flush()
    assert ledger.lost == 1
    obstacle.unlink()
    compare(ledger)
    assert ledger.flush()
    assert len(ledger.comparisons()) == 1


def test_a_corrupt_file_is_a_typed_error_for_readers_and_none_for_callers(ledger: Ledger, path: Path) -> None:
    """The error names the file; recording into it is counted as lost."""
    path.parent.mkdir()
    path.write_bytes(b"this is not a database" * 1000)
    for read in (ledger.comparisons, lambda: ledger.standing("m")):
        with pytest.raises(LedgerError, match=r"ledger\.db cannot be used: file is not a database"):
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
    assert [row["detail"] for row in ledger.comparisons()] == ["after", r"File not found: \udcff\udcfe.txt"]
    assert ledger.standing("m").sides[Side.LEGACY].calls == 1
    assert ledger.lost == 1


# Many processes


WRITER = """
import pathlib, sys
from migration import *
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
    standing = Ledger(path).standing("m")
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
print(ledger.standing("m").sides[Side.LEGACY].calls)
""",
        str(path),
    )
    assert printed.split() == ["0", "121"]
