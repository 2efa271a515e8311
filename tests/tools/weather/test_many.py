"""Many uploads in one process, and in several: it stays as it was after the first of them."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.monolith import PREFIXES
from tools.sandbox import RunningSandbox

ROOT = Path(__file__).parents[3]

IDLE_CONNECTIONS = 8
"""As many as threads upload: how many of them are open at a given moment is chance."""


def environment(sandbox: RunningSandbox, home: Path) -> dict[str, str]:
    """That of a process whose services are the sandbox."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIXES)}
    return kept | {
        "KIMI_API_URL": sandbox.urls["kimi"],
        "KIMI_API_KEY": sandbox.key,
        "GLM_API_URL": sandbox.urls["glm"],
        "GLM_API_KEY": sandbox.key,
        "SHIM_HOME": str(home),
    }


@pytest.mark.parametrize(
    ("number", "growth"),
    [pytest.param(1_000, 8.0), pytest.param(20_000, 8.0, marks=pytest.mark.thorough)],
)
def test_the_process_stays_as_it_was(
    sandbox: RunningSandbox, tmp_path: Path, say: Callable[[str], None], number: int, growth: float
) -> None:
    """Memory in use, descriptors and threads are flat from the first fifth of the uploads on each side to the last."""
    sandbox.set_limits(kimi_max_files=1_000_000)
    finished = subprocess.run(  # noqa: S603  # our own program
        [sys.executable, "-m", "tests.tools.weather.many", str(tmp_path), str(number)],
        cwd=ROOT,
        env=environment(sandbox, tmp_path / "home"),
        capture_output=True,
        check=False,
        timeout=3600,
    )
    assert finished.returncode == 0, finished.stderr.decode()
    found = json.loads(finished.stdout)
    assert found["ids"] == number == len(sandbox.state()["kimi"]["files"])
    for side, looks in found["sides"].items():
        first, last = looks[1], looks[-1]
        changes = ", ".join(f"{name} {first[name]:.4g} to {last[name]:.4g}" for name in first)
        say(f"{number // 2} uploads on {side}, after a fifth of them and after all: {changes}")
        assert last["MiB in use"] - first["MiB in use"] <= growth, looks
        assert last["descriptors"] <= first["descriptors"] + IDLE_CONNECTIONS, looks
        assert last["threads"] <= first["threads"] + 2, looks


@pytest.mark.thorough
def test_what_the_allocator_keeps_is_the_sdks_own_doing(
    sandbox: RunningSandbox, tmp_path: Path, say: Callable[[str], None]
) -> None:
    """The vendor's SDK alone, with a client for each call, leaves tens of MiB with the allocator, and leaks nothing."""
    sandbox.set_limits(kimi_max_files=1_000_000)
    finished = subprocess.run(
        [sys.executable, "-m", "tests.tools.weather.bare", "5000"],
        cwd=ROOT,
        env=environment(sandbox, tmp_path),
        capture_output=True,
        check=False,
        timeout=3600,
    )
    assert finished.returncode == 0, finished.stderr.decode()
    looks = json.loads(finished.stdout)
    changes = ", ".join(f"{name} {looks[1][name]:.4g} to {looks[-1][name]:.4g}" for name in looks[1])
    say(f"5000 calls of the SDK alone, after a fifth of them and after all: {changes}")
    assert looks[-1]["MiB in use"] - looks[1]["MiB in use"] <= 8.0, looks
    assert looks[-1]["MiB kept"] > 10.0, looks


def test_two_hundred_threads_and_four_processes(
    sandbox: RunningSandbox, tmp_path: Path, say: Callable[[str], None]
) -> None:
    """Two hundred threads in four processes, each with a file of its own, on both sides: each file is there once."""
    processes, threads, home = 4, 50, tmp_path / "home"
    answered: dict[str, str] = {}
    with ExitStack() as stack:
        started = []
        for number in range(processes):
            folder = tmp_path / str(number)
            folder.mkdir()
            command = [sys.executable, "-m", "tests.tools.weather.crowd", str(folder), str(threads), str(number % 2)]
            process = subprocess.Popen(  # noqa: S603  # our own program
                command, cwd=ROOT, env=environment(sandbox, home), stdout=subprocess.PIPE
            )
            started.append(stack.enter_context(process))
            stack.callback(process.kill)
        for process in started:
            out, _ = process.communicate(timeout=300)
            assert process.returncode == 0
            answered.update(json.loads(out))
    held = {file["id"]: file["sha256"] for kind in ("kimi", "glm") for file in sandbox.state()[kind]["files"]}
    assert held == {file_id: hashlib.sha256(Path(path).read_bytes()).hexdigest() for file_id, path in answered.items()}
    assert len(held) == processes * threads
    say(f"{processes * threads} threads in {processes} processes: {len(held)} files, each once and whole")
