"""The command line with planted keys, in processes of its own: no key in its output, its files or the process list."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from flags import FileFlagAdmin
from tests.security.conftest import Planted
from tests.security.planted import VARIABLES, seen_in
from tests.support.unleash_programs import free_port
from tools.migrations import NAMES
from tools.sandbox import SUPABASE, FaultKind, RunningSandbox

ROOT = Path(__file__).parents[2]
KIMI = NAMES[0]

WORK: tuple[tuple[str, ...], ...] = (
    ("upload", "plan.txt", "other.txt", "--json"),
    ("upload", "plan.txt", "--provider", "glm"),
    ("ask", "plan.txt", "When?"),
)
LOOKING: tuple[tuple[str, ...], ...] = (
    ("status", "--json"),
    ("flags", "list"),
    ("mismatches", "--json"),
    ("decisions",),
    ("audit", KIMI, "--json"),
    ("reconcile", "--orphans", "--json"),
    ("ready", KIMI, "--json"),
    ("report", KIMI, "-o", "report.html"),
)
STEERING: tuple[tuple[str, ...], ...] = (
    ("status",),
    ("flags", "list"),
    ("flags", "off", KIMI),
    ("rollout", "status", KIMI),
    ("flags", "set", KIMI, "5"),
)


@contextmanager
def process_list() -> Iterator[set[str]]:
    """Every command line that any process has during the block."""
    seen: set[str] = set()
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.05):
            for process in psutil.process_iter(["cmdline"]):
                seen.update(process.info["cmdline"] or ())

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield seen
    finally:
        over.set()
        looking.join()


def said_by(planted: Planted, folder: Path, arguments: tuple[str, ...], **more: str) -> bytes:
    """Everything that a command prints, its own log included."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(ROOT)}
    environment["SHIM_APP"] = "tools.application:app"
    finished = subprocess.run(  # noqa: S603  # our own program
        [sys.executable, "-m", "shim.cli", "--debug", *arguments],
        cwd=folder,
        env=environment | planted.variables | more,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
        check=False,
    )
    return finished.stdout + finished.stderr


def check(planted: Planted, folder: Path, said: dict[str, bytes], commands: set[str]) -> None:
    said |= {"the process list": "\n".join(commands).encode(), "telemetry": planted.telemetry()}
    said |= dict(planted.files())
    said |= {path.name: path.read_bytes() for path in folder.glob("*.html")}
    assert {place: keys for place, content in said.items() if (keys := seen_in(content))} == {}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("plan", "other"):
        (tmp_path / f"{name}.txt").write_text(f"The {name} begins in May.\n")
    return tmp_path


@pytest.mark.parametrize("percentage", [0, 100])
def test_no_command_shows_a_key(planted: Planted, folder: Path, sandbox: RunningSandbox, percentage: int) -> None:
    """Uploads that succeed and fail on either side, compared, and every way to look at them."""
    admin = FileFlagAdmin(planted.home / "flags.json")
    for name in NAMES:
        for flag, share in ((name, percentage), (f"{name}.shadow", 100)):
            admin.ensure(flag)
            admin.set_percentage(flag, share)
    said: dict[str, bytes] = {}
    with process_list() as commands:
        for arguments in WORK:
            said[" ".join(arguments)] = said_by(planted, folder, arguments)
        for service in (*sandbox.urls, SUPABASE):
            sandbox.inject(FaultKind.SERVER_ERROR, service, times=None)
        (folder / "plan.txt").write_text("The plan has changed.\n")
        for arguments in WORK:
            said[f"failing: {' '.join(arguments)}"] = said_by(planted, folder, arguments)
        sandbox.clear_faults()
        for arguments in LOOKING:
            said[" ".join(arguments)] = said_by(planted, folder, arguments)
    assert b'"failed": 2' in said["failing: upload plan.txt other.txt --json"]
    check(planted, folder, said, commands)


def test_no_command_shows_a_token_of_unleash(planted: Planted, folder: Path) -> None:
    """With a server that refuses the tokens, and with one that is away."""
    said: dict[str, bytes] = {}
    with process_list() as commands:
        for url in (planted.unleash.url, f"http://127.0.0.1:{free_port()}"):
            for arguments in STEERING:
                more = {"UNLEASH_URL": url} | {name: VARIABLES[name] for name in VARIABLES if "UNLEASH" in name}
                said[f"{' '.join(arguments)} at {url}"] = said_by(planted, folder, arguments, **more)
    check(planted, folder, said, commands)
