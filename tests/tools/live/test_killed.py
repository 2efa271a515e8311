"""A process that is killed in the middle of a trial leaves nothing that a clean-up does not remove."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.migration.helpers import eventually
from tests.tools.live.bench import Bench
from tests.tools.live.conftest import MakeBench
from tests.tools.planted import planted_environment
from tools.shadowing import Fate, clean
from tools.shadowing.undoing import journal_of
from tools.storage.port import ProviderName

pytestmark = pytest.mark.thorough

ROOT = Path(__file__).parents[3]
MOST_KILLS = 4
"""For each that comes in mid trial."""
LONGEST_LIFE_SECONDS = 0.6

# Imports everything once; each line that it reads makes a child that uploads and compares until it is killed.
PROGRAM = """
import os, sys
from pathlib import Path
from migration import Side
from tests.tools.live.bench import Bench, document
from tools.sandbox import RunningSandbox
from tools.settings import get_settings
from tools.storage import get_storage
from shim.http.httpx_tap import install_httpx_tap

def upload_for_ever(provider, folder, answered):
    install_httpx_tap()
    bench = Bench(provider, get_storage(), None, get_settings(), folder)
    shim, number = bench.shim(), 0
    while True:
        number += 1
        path = document(folder, os.urandom(200_000), f"{os.getpid()}-{number}.txt")
        bench.router.serve = list(Side)[number % 2]
        file_id = shim(path, bench.storage)[f"{provider}_file_id"]
        os.write(answered, f"{file_id}\\n".encode())
        bench.runtime.shadows.drain(60)

provider, folder = sys.argv[1], Path(sys.argv[2])
answered = os.open(sys.argv[3], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
print("ready", flush=True)
for _ in sys.stdin:
    child = os.fork()
    if child == 0:
        upload_for_ever(provider, folder, answered)
    print(child, flush=True)
    os.waitpid(child, 0)
    print("gone", flush=True)
"""


@dataclass
class Nursery:
    """Makes processes that upload and compare, to be killed. `answered` is where they write what they are answered."""

    process: subprocess.Popen[str]
    answered: Path

    def live_for(self, seconds: float) -> None:
        """Let one live for so long after its first upload, and kill it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        child = int(self.process.stdout.readline())
        before = self.answers()
        assert eventually(lambda: self.answers() != before)
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
        assert self.process.stdout.readline() == "gone\n"

    def answers(self) -> list[str]:
        """The ids that callers were answered."""
        return self.answered.read_text().split() if self.answered.exists() else []


@contextmanager
def nursery(bench: Bench) -> Iterator[Nursery]:
    files = bench.folder / "files"
    files.mkdir()
    answered = bench.folder / "answered.txt"
    command = [sys.executable, "-c", PROGRAM, bench.provider, str(files), str(answered)]
    with subprocess.Popen(  # noqa: S603  # a program of the test's own
        command,
        cwd=ROOT,
        env=planted_environment(bench.settings),
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield Nursery(process, answered)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(10)


@pytest.mark.parametrize(
    ("who", "storage", "wanted"), [("kimi", "supabase", 20), ("kimi", "embedded", 6), ("glm", "supabase", 6)]
)
def test_killed_in_mid_trial(
    who: ProviderName, storage: str, wanted: int, make_bench: MakeBench, say: Callable[[str], None]
) -> None:
    """Killed at random moments: the clean-up leaves nothing marked, and all that callers were answered as it was."""
    bench = make_bench(who, storage)
    bench.sandbox.set_limits(kimi_max_files=100_000, glm_max_files=100_000)
    chance = random.Random(4)
    kills, in_mid_trial, found = 0, 0, 0
    with nursery(bench) as processes:
        while in_mid_trial < wanted:
            assert kills < MOST_KILLS * wanted
            processes.live_for(chance.uniform(0.0, LONGEST_LIFE_SECONDS))
            kills += 1
            left = journal_of(bench.settings).left()
            in_mid_trial += bool(left)
            if left:
                held = bench.state()
                found += len(held.marked) - sum("shadow-" in copy for copy in held.copies)
                cleaned = asyncio.run(clean(bench.settings, sleep=_briefly))
                assert [cleanup.fate for cleanup in cleaned] == [Fate.REMOVED] * len(left), cleaned
                after = bench.state()
                assert not after.marked
                own = {each for each in held.files if "shadow-" not in held.files[each]}
                assert own == set(after.files)
                assert {name: after.files[name] for name in own} == {name: held.files[name] for name in own}
        held = bench.state()
        answers = processes.answers()
        assert set(answers) <= set(held.files)
        assert set(answers) <= set(held.rows)
        assert not held.marked
    say(
        f"{who}, {storage}: {kills} processes killed, {in_mid_trial} in mid trial, {found} things found and removed; "
        f"{len(answers)} uploads answered, all there"
    )


async def _briefly(seconds: float) -> None:
    await asyncio.sleep(min(seconds, 0.2))
