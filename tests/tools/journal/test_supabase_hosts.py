"""Several machines share the journal: processes with homes and wrong clocks of their own, over a real PostgreSQL."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.supabase import SupabaseTables
from tests.tools.journal.supabase_making import eventually, intent, journal_of, opened, real_project
from tools.journal.port import Held, Opened, State
from tools.sandbox import RunningSandbox

ROOT = Path(__file__).parents[3]
YEAR = 365 * 86400.0
SKEWS = (-YEAR, -90.0, 90.0, YEAR)
"""Seconds by which the machines' clocks are wrong."""


class Host:
    """A machine of its own."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    def says(self) -> Any:
        """The next thing it says."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the host has ended"
        return json.loads(line)


@pytest.fixture
def hosts(supabase_tables: SupabaseTables, tmp_path: Path) -> Iterator[Callable[..., list[Host]]]:
    """Starts machines with wrong clocks; they begin together."""
    with ExitStack() as stack:

        def start(does: str, *, skews: tuple[float, ...] = SKEWS, home: str | None = None, **task: Any) -> list[Host]:
            go = tmp_path / f"start-{time.monotonic_ns()}"
            started = [
                stack.enter_context(
                    _host(
                        {"url": supabase_tables.url, "key": supabase_tables.key, "start": str(go), "does": does}
                        | {"home": str(tmp_path / (home or f"{does}{number}")), "skew": skew}
                        | {"heartbeat": 0.3, "callers": 1}
                        | task
                    )
                )
                for number, skew in enumerate(skews)
            ]
            for host in started:
                assert "ready" in host.says()
            go.touch()
            return started

        yield start


@contextmanager
def _host(task: dict[str, Any]) -> Iterator[Host]:
    program = Path(__file__).with_name("supabase_host.py")
    with subprocess.Popen(  # noqa: S603  # our own program
        [sys.executable, program, json.dumps(task)],
        cwd=ROOT,
        env={"PATH": os.defpath, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    ) as process:
        try:
            yield Host(process)
        finally:
            process.kill()


def test_machines_with_wrong_clocks_make_one_file(
    hosts: Callable[..., list[Host]], sandbox: RunningSandbox, say: Callable[[str], None]
) -> None:
    """Machines whose clocks are two years apart upload one content at once, by three callers each: one file."""
    uploading = hosts("upload", callers=3, kimi_url=sandbox.urls["kimi"], kimi_key=sandbox.key)
    files = [host.says()["file"] for host in uploading for _ in range(3)]
    made = [file["id"] for file in sandbox.state()["kimi"]["files"]]
    say(f"{len(files)} uploads of one content by {len(uploading)} machines: {len(made)} file")
    assert set(files) == set(made)
    assert len(made) == 1


def test_the_claim_of_a_machine_that_was_killed_goes_to_one_of_twenty(
    hosts: Callable[..., list[Host]], supabase_tables: SupabaseTables, tmp_path: Path, say: Callable[[str], None]
) -> None:
    """After kill -9 a claim holds until its lease runs out, by the database's clock; then exactly one of 20 gets it."""
    supabase_tables.migrate(lease_seconds=4)
    [holding] = hosts("hold", skews=(YEAR,))
    held = holding.says()
    assert held["opened"] == "Opened"
    os.kill(holding.process.pid, signal.SIGKILL)
    killed = time.monotonic()
    project = real_project(supabase_tables)
    with journal_of(project, tmp_path / "watching") as journal:
        assert isinstance(opened(journal, intent()), Held)
        assert journal.take_over(held["upload"]) is None
        expired = "select count(*) from upload_intents where lease_until < clock_timestamp()"
        assert eventually(lambda: supabase_tables.database.run(expired) == "1")
        say(f"the lease ran out {time.monotonic() - killed:.1f} s after the kill")
        supabase_tables.migrate(lease_seconds=60)
        taking = hosts("claim", callers=5)
        outcomes = Counter(host.says()["opened"] for host in taking for _ in range(5))
        say(f"20 takers of the claim: {dict(outcomes)}")
        assert outcomes == {"Opened": 1, "Held": 19}
        states = {entry.intent.upload_id: entry.state for entry in journal.unfinished()}
        assert states.pop(held["upload"]) is State.ABANDONED
        assert list(states.values()) == [State.INTENDED]


@pytest.mark.thorough
def test_one_of_twenty_takes_an_abandoned_upload_over(
    hosts: Callable[..., list[Host]], supabase_tables: SupabaseTables
) -> None:
    """Only one machine looks after what a dead one left."""
    supabase_tables.migrate(lease_seconds=2)
    [holding] = hosts("hold", skews=(-YEAR,))
    held = holding.says()
    os.kill(holding.process.pid, signal.SIGKILL)
    expired = "select count(*) from upload_intents where lease_until < clock_timestamp()"
    assert eventually(lambda: supabase_tables.database.run(expired) == "1")
    supabase_tables.migrate(lease_seconds=60)
    taking = hosts("take_over", callers=5, upload=held["upload"])
    assert Counter(host.says()["taken"] for host in taking for _ in range(5)) == {True: 1, False: 19}


def test_on_its_own_machine_a_dead_process_is_known_at_once(
    hosts: Callable[..., list[Host]], supabase_tables: SupabaseTables, tmp_path: Path
) -> None:
    """A process finds the claim of one that died on the same machine free, long before its lease runs out."""
    [holding] = hosts("hold", skews=(0.0,), home="shared")
    held = holding.says()
    with journal_of(real_project(supabase_tables), tmp_path / "shared" / "0") as journal:
        assert isinstance(opened(journal, intent()), Held)
        os.kill(holding.process.pid, signal.SIGKILL)
        holding.process.wait()
        assert eventually(lambda: opened(journal, intent()) == Opened(), 5)
        assert journal.take_over(held["upload"]) is not None
