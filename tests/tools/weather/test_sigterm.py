"""SIGTERM in the middle of the work: what was begun is ended and answered, nothing else begins, the process ends."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from flags import FileFlagAdmin
from tests.migration.helpers import eventually
from tests.support.monolith import PREFIXES
from tools.sandbox import FaultKind, RunningSandbox

ROOT = Path(__file__).parents[3]
ENDED_BY_SIGTERM = -signal.SIGTERM
LONGEST_LIFE_SECONDS = 0.8
PATIENCE_SECONDS = 300.0
"""For a machine that has much else to do."""


@dataclass(frozen=True, slots=True)
class Uploading:
    """A process that uploads."""

    process: subprocess.Popen[str]
    log: Path

    def noted(self, what: str) -> list[list[str]]:
        """What it has noted of this kind."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [words for words in map(str.split, lines) if words[0] == what]

    def end(self) -> int:
        """Send the signal, and wait for the end."""
        self.process.send_signal(signal.SIGTERM)
        assert eventually(lambda: self.process.poll() is not None, PATIENCE_SECONDS), self.stacks()
        return self.process.wait()

    def wait_for(self, what: str) -> None:
        """Wait until it has noted something of this kind."""
        assert eventually(lambda: bool(self.noted(what)), PATIENCE_SECONDS), self.stacks()

    def stacks(self) -> str:
        """End it, and say where its threads were."""
        self.process.send_signal(signal.SIGABRT)
        return self.process.communicate()[1]


Start = Callable[..., Uploading]


@pytest.fixture
def start(sandbox: RunningSandbox, tmp_path: Path) -> Iterator[Start]:
    """Starts a process that uploads, on the side given, and waits for its first upload."""
    sandbox.set_limits(kimi_max_files=100_000, glm_max_files=100_000)
    started: list[subprocess.Popen[str]] = []

    def make(mode: str, *, candidate: bool, handler: str = "none", drain_seconds: float = 30.0) -> Uploading:
        folder = tmp_path / str(len(started))
        folder.mkdir()
        flags = FileFlagAdmin(folder / "home" / "flags.json")
        for name in ("async-upload-kimi", "async-upload-glm"):
            flags.ensure(name)
            flags.set_percentage(name, 100 if candidate else 0)
        environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIXES)}
        environment |= {
            "KIMI_API_URL": sandbox.urls["kimi"],
            "KIMI_API_KEY": sandbox.key,
            "GLM_API_URL": sandbox.urls["glm"],
            "GLM_API_KEY": sandbox.key,
            "SHIM_HOME": str(folder / "home"),
            "DRAIN_TIMEOUT": str(drain_seconds),
        }
        program = ["-X", "faulthandler", "-m", "tests.tools.weather.uploading"]
        command = [sys.executable, *program, str(folder), mode, handler]
        process = subprocess.Popen(  # noqa: S603  # our own program
            command, cwd=ROOT, env=environment, text=True, stderr=subprocess.PIPE
        )
        started.append(process)
        uploading = Uploading(process, folder / "log")
        uploading.wait_for("begun")
        return uploading

    yield make
    for process in started:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def assert_that_all_is_answered(uploading: Uploading, sandbox: RunningSandbox) -> int:
    """What the providers hold is what callers were answered, each file once; how many there are."""
    state = sandbox.state()
    held = [file for provider in ("kimi", "glm") for file in state[provider]["files"]]
    answered = [words[2] for words in uploading.noted("answered")]
    assert sorted(file["id"] for file in held) == sorted(answered)
    assert set(Counter(file["filename"] for file in held).values()) <= {1}
    return len(held)


def one_end(start: Start, sandbox: RunningSandbox, mode: str, *, candidate: bool, after: float) -> tuple[int, int]:
    """End a process after so many seconds; how many uploads were begun, and how many answered."""
    sandbox.reset()
    sandbox.set_limits(kimi_max_files=100_000, glm_max_files=100_000)
    sandbox.inject(FaultKind.LATENCY, "kimi", "files.create", seconds=0.05, times=None)
    uploading = start(mode, candidate=candidate)
    uploading.wait_for("answered")
    time.sleep(after)
    assert uploading.end() == ENDED_BY_SIGTERM
    return len(uploading.noted("begun")), assert_that_all_is_answered(uploading, sandbox)


@pytest.mark.parametrize("candidate", [False, True], ids=["legacy", "async"])
@pytest.mark.parametrize("mode", ["threads", "awaiting", "main"])
def test_what_is_under_way_ends_before_the_process(
    start: Start, sandbox: RunningSandbox, say: Callable[[str], None], mode: str, *, candidate: bool
) -> None:
    """On whichever side: the providers hold exactly what callers were answered when it is over."""
    begun, answered = one_end(start, sandbox, mode, candidate=candidate, after=0.3)
    say(f"{begun} uploads begun, {answered} held by the providers and answered, the others never sent")


@pytest.mark.thorough
@pytest.mark.parametrize("candidate", [False, True], ids=["legacy", "async"])
def test_at_random_moments(
    start: Start, sandbox: RunningSandbox, say: Callable[[str], None], *, candidate: bool
) -> None:
    """Whenever the signal comes, nothing is lost and nothing is there of which no caller was told."""
    chance = random.Random(5)
    ends = [
        one_end(start, sandbox, mode, candidate=candidate, after=chance.uniform(0, LONGEST_LIFE_SECONDS))
        for _ in range(10)
        for mode in ("threads", "awaiting", "main")
    ]
    say(f"{len(ends)} processes ended by SIGTERM: {sum(held for _, held in ends)} uploads held and answered, lost 0")


@pytest.mark.parametrize(("handler", "code"), [("flag", 0), ("exit", 7)])
def test_the_monoliths_own_handler_runs_once_it_is_drained(
    start: Start, sandbox: RunningSandbox, handler: str, code: int
) -> None:
    """A handler that was there before is called, in the main thread; what it does then is up to it."""
    uploading = start("main", candidate=True, handler=handler)
    time.sleep(0.3)
    assert uploading.end() == code
    assert_that_all_is_answered(uploading, sandbox)


@pytest.mark.parametrize("candidate", [False, True], ids=["legacy", "async"])
def test_the_drain_is_bounded(start: Start, sandbox: RunningSandbox, *, candidate: bool) -> None:
    """A provider that hangs holds up the end for `DRAIN_TIMEOUT` and the seconds that giving up may take."""
    sandbox.inject(FaultKind.HANG, "kimi", "files.create", times=None)
    uploading = start("threads", candidate=candidate, drain_seconds=1.0)
    sandbox.wait_for_requests("kimi", "files.create")
    began = time.monotonic()
    assert uploading.end() == ENDED_BY_SIGTERM
    assert 1.0 <= time.monotonic() - began < 20
    assert uploading.process.stderr is not None
    assert "did not end in time after SIGTERM" in uploading.process.stderr.read()


def test_a_second_signal_ends_it_at_once(start: Start, sandbox: RunningSandbox) -> None:
    """Who does not want to wait sends SIGTERM again."""
    sandbox.inject(FaultKind.HANG, "kimi", "files.create", times=None)
    uploading = start("threads", candidate=True, drain_seconds=600.0)
    sandbox.wait_for_requests("kimi", "files.create")
    uploading.process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert uploading.process.poll() is None
    assert uploading.end() == ENDED_BY_SIGTERM
