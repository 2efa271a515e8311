"""The bounds that callers were promised, measured in a process of its own against a server in another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tools.engine.sink import running_sink
from tools.sandbox import RunningSandbox


def _at_sandbox(sandbox: RunningSandbox) -> dict[str, str]:
    return {"KIMI_API_KEY": sandbox.key, "KIMI_API_URL": sandbox.urls["kimi"]}


def _measured(measure: str, tmp_path: Path, **variables: str) -> dict[str, float]:
    environment = {**os.environ, **variables, "SHIM_HOME": str(tmp_path / "home")}
    folder = tmp_path / "files"
    folder.mkdir()
    finished = subprocess.run(  # noqa: S603  # our own script
        [sys.executable, "-m", "tests.tools.engine.footprint", measure, str(folder)],
        env=environment,
        cwd=Path(__file__).parents[3],
        check=True,
        capture_output=True,
        timeout=300,
    )
    figures: dict[str, float] = json.loads(finished.stdout)
    return figures


def test_an_upload_of_50_mb_takes_little_memory(
    sandbox: RunningSandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file is never in memory: the peak grows by far less than the file's size."""
    growth = _measured("memory", tmp_path, **_at_sandbox(sandbox))["growth"]
    with capsys.disabled():
        print(f"\nmemory grew by {growth:.1f} MiB at most during an upload of 50 MB")  # noqa: T201  # a figure to be seen
    assert growth < 12


def test_uploads_do_not_stall_the_event_loop(
    sandbox: RunningSandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Others on the loop are served all the time while six uploads of 20 MB run."""
    pauses = _measured("stall", tmp_path, **_at_sandbox(sandbox))
    with capsys.disabled():
        print(  # noqa: T201  # figures to be seen
            f"\nlongest pause of a 1 ms ticker during six uploads: {pauses['loop']:.1f} ms on the loop, "
            f"{pauses['idle_thread']:.1f} ms in a thread that does nothing else"
        )
    assert pauses["loop"] < 50 + pauses["idle_thread"]


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "tls"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, say: Callable[[str], None], *, encrypted: bool) -> None:
    """An upload takes at most 4 MiB, be it of 50 MB or of 1 GB."""
    with running_sink(tmp_path) as sink:
        address = sink.encrypted if encrypted else sink.plain
        growth = _measured("sizes", tmp_path, SINK=address, SSL_CERT_FILE=str(sink.authority))
    say(f"memory grew by {growth['50 MB']:.1f} MiB for 50 MB, then by {growth['1 GB']:.1f} MiB more for 1 GB")
    assert growth["50 MB"] <= 4
    assert growth["50 MB"] + growth["1 GB"] <= 4


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "tls"])
def test_a_crowd_takes_a_bounded_share_of_memory(
    tmp_path: Path, say: Callable[[str], None], *, encrypted: bool
) -> None:
    """A hundred uploads of 50 MB at once stay under 150 MiB together."""
    with running_sink(tmp_path) as sink:
        address = sink.encrypted if encrypted else sink.plain
        figures = _measured(
            "crowd", tmp_path, SINK=address, SSL_CERT_FILE=str(sink.authority), UPLOAD_CONCURRENCY="100"
        )
    say(
        f"100 uploads of 50 MB at once: memory grew by {figures['growth']:.1f} MiB; a 1 ms ticker was late by "
        f"{figures['p50']:.1f} ms (median), {figures['p99']:.1f} ms (99 %), {figures['max']:.1f} ms (longest)"
    )
    assert figures["growth"] < 150
