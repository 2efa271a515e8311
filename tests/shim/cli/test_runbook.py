"""The runbook for the night: every step is carried out as it is written, against the real thing."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flags import FileFlagAdmin
from migration.guard import BadCall, DecisionRecord, GuardStore, Judge, Signal
from tests.support.command_line import CommandLine, Finished, MakeCommandLine
from tests.support.documents import ROOT, Block, blocks
from tests.support.unleash import UnleashServer
from tools.migrations import NAMES
from tools.sandbox import FaultKind, RunningSandbox

if TYPE_CHECKING:
    from tests.support.unleash import UnleashConsole

KIMI = NAMES[0]
RUNBOOK = ROOT / "docs" / "runbook.md"


def step(heading: str) -> list[str]:
    """The command lines below a heading."""
    found: list[Block] = [block for block in blocks(RUNBOOK) if block.heading == heading and block.language == "sh"]
    assert found, heading
    return [line for block in found for line in block.text.splitlines()]


def carry_out(shim: CommandLine, heading: str, *, codes: tuple[int, ...] = (0,)) -> list[Finished]:
    """Type what stands below a heading; every command ends with one of these codes."""
    results = []
    for line in step(heading):
        command = line.replace("shim ", f"{ROOT}/.venv/bin/shim ", 1) if line.startswith("shim ") else line
        done = subprocess.run(  # noqa: S602  # a line of the project's own document
            command,
            shell=True,
            cwd=shim.folder,
            env=shim.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode in codes, f"{line}: {done.stdout}{done.stderr}"
        results.append(Finished(code=done.returncode, out=done.stdout, err=done.stderr))
    return results


def percentage(shim: CommandLine) -> float:
    """The share in force, as `shim status` has it."""
    return float(shim("status", "--json").document["migrations"][0]["percentage"])


def test_every_section_is_carried_out() -> None:
    """No heading of the runbook is without a test here."""
    headings = re.findall(r"^## (.*)$", RUNBOOK.read_text(), re.MULTILINE)
    own = Path(__file__).read_text()
    assert [heading for heading in headings if f'"{heading}"' not in own] == []


@pytest.fixture
def half(flags: FileFlagAdmin) -> FileFlagAdmin:
    """The flags file; the candidate serves half of the calls."""
    flags.set_percentage(KIMI, 50)
    flags.turn_on(KIMI)
    return flags


@pytest.fixture
def with_server(command_line: MakeCommandLine, unleash_server: UnleashServer) -> Iterator[CommandLine]:
    """The command line with a real Unleash server, on which the candidate serves half of the calls."""
    admin = unleash_server.admin
    admin.ensure(KIMI)
    admin.set_percentage(KIMI, 50)
    admin.turn_on(KIMI)
    yield command_line(
        UNLEASH_URL=unleash_server.url,
        UNLEASH_API_TOKEN=unleash_server.backend_token,
        UNLEASH_ADMIN_TOKEN=unleash_server.admin_token,
    )
    admin.set_percentage(KIMI, 0)
    admin.turn_on(KIMI)


@pytest.mark.usefixtures("half")
def test_the_first_look_says_where_it_stands(shim: CommandLine) -> None:
    """One command shows both sides and the guard."""
    [status] = carry_out(shim, "First look")
    assert "50 %" in status.out
    assert "watching" in status.out


def test_rolling_back_by_command(with_server: CommandLine) -> None:
    """The flag on the real server is off, with the reason in it."""
    assert percentage(with_server) == 50
    carry_out(with_server, "Roll back by command")
    assert percentage(with_server) == 0
    assert "error rate" in with_server("flags", "show", KIMI).out


def test_rolling_back_by_a_click(with_server: CommandLine, unleash_console: UnleashConsole) -> None:
    """The switch in the real console does it."""
    unleash_console.toggle(KIMI)
    unleash_console.page.wait_for_load_state("networkidle")
    [status] = carry_out(with_server, "Roll back by the console of Unleash")
    assert status.out
    assert percentage(with_server) == 0


@pytest.mark.usefixtures("half")
def test_rolling_back_by_file(shim: CommandLine) -> None:
    """Nothing but an editor is needed."""
    assert percentage(shim) == 50
    carry_out(shim, "Roll back by file")
    assert percentage(shim) == 0


@pytest.mark.usefixtures("half")
def test_after_the_guard_has_rolled_back(shim_with_keys: CommandLine, tmp_path: Path) -> None:
    """The decision is listed with its reason, and nothing that was uploaded is missing."""
    trip(tmp_path / "home")
    decisions, audit = carry_out(shim_with_keys, "The guard has rolled back")
    assert "rolled back" in " ".join(decisions.out.split())
    assert audit.code == 0


def trip(home: Path) -> None:
    """Let the guard roll the migration back, on evidence as it does."""
    judge, store = Judge(KIMI), GuardStore(home / "shim.db")
    call = BadCall(at=1.0, signals=frozenset({Signal.ERROR}), on_candidate=True, probability=0.1, kind="timeout")
    ruling = None
    while ruling is None or ruling.action.word != "rollback":
        ruling = judge.ruling(judge.take_in(call), at=1.0, last=call)
    store.decide(DecisionRecord.of(ruling, by="guard"))


def test_without_unleash_legacy_serves(with_server: CommandLine, unleash_server: UnleashServer) -> None:
    """A new process that cannot reach the server gives nothing to the candidate, and says why."""
    unleash_server.stop()
    try:
        [status] = carry_out(with_server, "Unleash cannot be reached")
        assert "legacy serves" in " ".join(status.out.split())
        assert percentage(with_server) == 0
    finally:
        unleash_server.start()
    assert percentage(with_server) == 50


@pytest.mark.usefixtures("half")
def test_an_outage_of_the_provider_counts_against_neither_side(
    shim_with_keys: CommandLine, sandbox: RunningSandbox, documents: list[Path]
) -> None:
    """Both sides fail alike, and the guard does not roll back."""
    sandbox.inject(FaultKind.SERVER_ERROR, "kimi", "files.create", times=None)
    shim_with_keys("upload", *documents)
    status, decisions = carry_out(shim_with_keys, "The provider is down")
    assert "RuntimeError" in " ".join(status.out.split())
    assert "rollback" not in decisions.out


@pytest.mark.usefixtures("flags")
def test_a_full_disk_costs_records_and_no_calls(shim_with_keys: CommandLine, documents: list[Path]) -> None:
    """The upload is answered although the ledger cannot be written; what the disk does not hold is counted as lost."""
    limited = f"ulimit -f 8; {ROOT}/.venv/bin/shim upload {documents[0]}"
    done = subprocess.run(  # noqa: S603  # the test's own
        ["bash", "-c", limited],  # noqa: S607  # likewise
        cwd=shim_with_keys.folder,
        env=shim_with_keys.environment | {"PYTHONDONTWRITEBYTECODE": "1"},  # or half of one would stay behind
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "lost" in done.stderr
    carry_out(shim_with_keys, "The disk is full")


def test_unfinished_uploads_are_brought_to_an_end(
    shim_with_keys: CommandLine, sandbox: RunningSandbox, documents: list[Path]
) -> None:
    """A process was killed while it uploaded: the look finds that, and nothing is left afterwards."""
    sandbox.inject(FaultKind.HANG, "kimi", "files.create", times=None)
    with shim_with_keys.start("upload", documents[0]) as process:
        sandbox.wait_for_requests("kimi", "files.create", seconds=60)
        process.kill()
    sandbox.clear_faults()
    look, applied = carry_out(shim_with_keys, "Unfinished uploads", codes=(0, 7))
    assert (look.code, applied.code) == (7, 0)


@pytest.mark.usefixtures("half")
def test_going_on_in_the_morning(shim: CommandLine, tmp_path: Path) -> None:
    """The trip is taken back and the share is small."""
    trip(tmp_path / "home")
    assert shim("status", "--json").document["migrations"][0]["guard"]["state"] == "rolled back"
    carry_out(shim, "In the morning")
    assert percentage(shim) == 1
    assert shim("status", "--json").document["migrations"][0]["guard"]["state"] == "watching"
