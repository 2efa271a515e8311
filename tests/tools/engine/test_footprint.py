"""The two bounds that callers were promised, measured in a process of its own against a server in another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools.sandbox import RunningSandbox


def _measured(measure: str, sandbox: RunningSandbox, tmp_path: Path) -> dict[str, float]:
    environment = {
        **os.environ,
        "KIMI_API_KEY": sandbox.key,
        "KIMI_API_URL": sandbox.kimi_url,
        "SHIM_HOME": str(tmp_path / "home"),
    }
    folder = tmp_path / "files"
    folder.mkdir()
    finished = subprocess.run(  # noqa: S603  # our own script
        [sys.executable, "-m", "tests.tools.engine.footprint", measure, str(folder)],
        env=environment,
        cwd=Path(__file__).parents[3],
        check=True,
        capture_output=True,
        timeout=120,
    )
    figures: dict[str, float] = json.loads(finished.stdout)
    return figures


def test_an_upload_of_50_mb_takes_little_memory(
    sandbox: RunningSandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file is never in memory: the peak grows by far less than the file's size."""
    growth = _measured("memory", sandbox, tmp_path)["growth"]
    with capsys.disabled():
        print(f"\nmemory grew by {growth:.1f} MiB at most during an upload of 50 MB")  # noqa: T201  # a figure to be seen
    assert growth < 25


def test_uploads_do_not_stall_the_event_loop(
    sandbox: RunningSandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Others on the loop are served all the time while six uploads of 20 MB run."""
    pauses = _measured("stall", sandbox, tmp_path)
    with capsys.disabled():
        print(  # noqa: T201  # figures to be seen
            f"\nlongest pause of a 1 ms ticker during six uploads: {pauses['loop']:.1f} ms on the loop, "
            f"{pauses['idle_thread']:.1f} ms in a thread that does nothing else"
        )
    assert pauses["loop"] < 50 + pauses["idle_thread"]
