"""Who called is remembered over processes, and what takes a legacy function's place."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from migration import AwaitInsteadError, Call, Migration, Runtime, call_blocking, migrate, use_runtime
from migration.model import CallSite, Entrance
from migration.routing import current_runtime
from migration.store import Ledger, LedgerReader
from migration.store.ledger import CALLER_SECONDS, MAX_CALLERS
from migration.store.ledger_writer import KEEP_CALLERS, PRUNE_EVERY
from tests.migration.helpers import in_thread, run_script
from tests.migration.ledgers import record

PROGRAM = """
import sys
from pathlib import Path
from migration import Migration, Runtime, migrate
from migration.store import Ledger

async def new():
    return "new"

ledger = Ledger(Path(sys.argv[1]))
f = migrate(Migration(name="m", candidate=new), runtime=Runtime(observers=[ledger]))(lambda: "old")
f()
ledger.flush()
"""


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    """One of this test's own: another test may have closed the one that is in use."""
    before, own = current_runtime(), Runtime()
    use_runtime(own)
    yield own
    own.close()
    use_runtime(before)


async def double(number: int) -> int:
    await asyncio.sleep(0)
    return 2 * number


def test_call_sites_are_kept_with_the_way_of_calling(tmp_path: Path) -> None:
    """Synchronously, synchronously inside a running loop, awaited."""
    ledger = Ledger(tmp_path / "shim.db")
    runtime = Runtime(observers=[ledger])
    f = migrate(Migration(name="m", candidate=double), runtime=runtime)(lambda number: 2 * number)

    async def inside() -> None:
        f(1)
        await f.aio(1)

    f(1)
    asyncio.run(inside())
    ledger.flush()
    runtime.close()
    callers = LedgerReader(ledger.path).callers("m")
    assert {each.entrance for each in callers} == set(Entrance)
    assert {Path(each.file) for each in callers} == {Path(__file__)}
    assert len({each.line for each in callers}) == 3
    assert LedgerReader(ledger.path).callers("other") == []


def test_call_sites_outlive_the_process(tmp_path: Path) -> None:
    """Another process sees them."""
    path = tmp_path / "shim.db"
    run_script(PROGRAM, str(path))
    [caller] = LedgerReader(path).callers()
    assert (caller.migration, caller.caller, caller.entrance) == ("m", "<module>", Entrance.SYNC)


def test_a_busy_call_site_is_written_once_a_minute(tmp_path: Path) -> None:
    """The first sight stays, the last one follows."""
    clock = [1000.0]
    ledger = Ledger(tmp_path / "shim.db", now=lambda: clock[0])
    for _ in range(3):
        record(ledger, None)
        clock[0] += CALLER_SECONDS / 2
        ledger.flush()
    [caller] = ledger.callers()
    assert (caller.first_at, caller.last_at) == (1000.0, 1000.0 + CALLER_SECONDS)


def test_call_sites_are_bounded(tmp_path: Path) -> None:
    """In the file, and in the memory of a process."""
    ledger = Ledger(tmp_path / "shim.db", keep_days=1e6)
    for number in range(KEEP_CALLERS + PRUNE_EVERY + 1):
        ledger._called(_call(number), float(number + 1))
        assert len(ledger._callers) <= MAX_CALLERS
        if number % 500 == 0:
            ledger.flush()
    ledger.flush()
    assert len(ledger.callers()) <= KEEP_CALLERS + PRUNE_EVERY


def _call(line: int) -> Call:
    site = CallSite(function="f", file="f.py", line=line)
    return Call(migration="m", function="a:f", call_id="u", args=(), kwargs={}, site=site)


@pytest.mark.usefixtures("runtime")
def test_a_synchronous_caller_waits_for_the_new_function() -> None:
    """On the background loop of the process; what it raises arrives as it is."""
    assert call_blocking(double, 4) == 8
    assert in_thread(lambda: call_blocking(double, number=5)).result(10) == 10

    async def fails() -> None:
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        call_blocking(fails)


def test_nobody_waits_for_the_loop_on_the_loop(runtime: Runtime) -> None:
    """That would never end; the error says what to do."""

    async def calls() -> int:
        return call_blocking(double, 1)

    with pytest.raises(AwaitInsteadError, match="await it there"):
        runtime.loop.run(calls)
