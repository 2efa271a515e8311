"""The demonstration, with few uploads."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_REPOSITORY = Path(__file__).parents[3]


def _start(folder: Path, *arguments: object) -> subprocess.Popen[str]:
    inherited = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return subprocess.Popen(  # noqa: S603  # our own program
        [sys.executable, "-m", "shim.cli", "demo", *map(str, arguments)],
        cwd=folder,
        env=inherited
        | {"HOME": str(folder), "PYTHONPATH": str(_REPOSITORY), "TMPDIR": str(folder)}
        | {"SHIM_APP": "tools.application:app"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    """A whole demonstration on two given files: its document, and what stood on standard error."""
    folder = tmp_path_factory.mktemp("demo")
    files = [folder / "first.txt", folder / "second.bin"]
    files[0].write_text("The lamp at the pier is red.\n")
    files[1].write_bytes(bytes(range(256)) * 2000)
    with _start(folder, *files, "--json", "--uploads", 8, "--big-megabytes", 4, "-v") as process:
        out, err = process.communicate(timeout=180)
    assert process.returncode == 0, err
    [line] = out.splitlines()
    return json.loads(line), err


def test_stages_go_from_legacy_to_async(shown: tuple[dict[str, Any], str]) -> None:
    """Each share has its stage; at 0 % legacy serves every call, at 100 % the asynchronous side does."""
    stages = shown[0]["stages"]
    assert [stage["percentage"] for stage in stages] == [0, 1, 10, 50, 100]
    for stage in stages:
        assert stage["served"]["legacy"]["calls"] + stage["served"]["candidate"]["calls"] == stage["uploads"]
        assert stage["uploads"] == (20 if stage["percentage"] == 1 else 8)
        assert stage["failures"] == 0
    assert stages[0]["served"]["candidate"] == {"calls": 0, "mean_seconds": None}
    assert stages[-1]["served"]["legacy"] == {"calls": 0, "mean_seconds": None}


def test_everything_is_accounted_for(shown: tuple[dict[str, Any], str]) -> None:
    """The providers hold exactly what was answered: each upload of the question, the stages and the flip.

    There are two files only, so now and then two threads upload the same one at the same moment, and share it.
    """
    document, _ = shown
    uploads = sum(stage["uploads"] for stage in document["stages"]) + document["flip"]["uploads"]
    expected = 1 + len(document["big_uploads"]) + uploads + 1  # the last one is the traced upload
    account = document["account"]
    assert (account["answered"], account["held"] + account["shared"]) == (expected, expected)
    assert (account["lost"], account["doubled"]) == ([], [])
    assert document["ok"]


def test_both_sides_upload_the_large_file(shown: tuple[dict[str, Any], str]) -> None:
    """Time and memory of the large file are measured on both sides, and legacy needs the whole file in memory."""
    uploads = shown[0]["big_uploads"]
    assert [upload["side"] for upload in uploads] == ["legacy", "legacy", "candidate", "candidate"]
    assert uploads[0]["size"] == 4 * 1024 * 1024
    assert uploads[0]["memory_growth"] >= uploads[0]["size"]
    assert all(upload["seconds"] > 0 for upload in uploads)


def test_the_flip_is_measured(shown: tuple[dict[str, Any], str]) -> None:
    """The times after the flip are those of calls: none was asynchronous for long after, and legacy came back."""
    flip = shown[0]["flip"]
    assert 0 <= flip["last_candidate_begun"] <= flip["last_candidate_answered"] < 15
    assert flip["first_legacy_begun"] > 0
    assert flip["uploads"] >= 40
    assert flip["failures"] == 0


def test_comparisons_question_and_trace_are_shown(shown: tuple[dict[str, Any], str]) -> None:
    """Verdicts, the answer and the spans of one call are in the document, and progress went to standard error."""
    document, progress = shown
    assert {compared["verdict"] for compared in document["compared"]} <= {"identical", "dropped"}
    assert "The lamp at the pier is red." in document["answer"]["answer"]
    assert any("candidate primary" in line for line in document["trace"])
    assert any(" POST " in line for line in document["trace"])
    assert "... 50 % asynchronous" in progress


def test_an_interrupt_leaves_nothing_behind(tmp_path: Path) -> None:
    """Ctrl-C in the middle ends the demonstration with 130, its sandbox and its folder."""
    with _start(tmp_path, "--uploads", 40) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "10 of 40" in line:
                break
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "shim: interrupted"
    assert list(tmp_path.glob("shim-demo-*")) == []


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A file that is not there ends the demonstration before it begins, with one line."""
    with _start(tmp_path, "missing.pdf", "--json") as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert out == ""
    assert err == "shim: missing.pdf cannot be read: No such file or directory\n"
