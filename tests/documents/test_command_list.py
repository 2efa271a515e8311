"""README.md's tables of commands, typed one by one on a machine on which nothing has happened yet."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from shim.cli.conventions import ExitCode
from tests.support.documents import ROOT

SECONDS = 300.0

UNTIL_CTRL_C = ("shim rollout", "shim console", "shim sandbox")
"""Commands that go on until they are interrupted; the first word that they say shows that they are at work."""

NOTHING_TO_DO = {
    "shim mismatches show 5": "no comparison 5",
    "shim explain 7": "no decision 7",
    "shim replay 7": "no decision 7",
    "shim resume": "nothing to resume",
    "shim ready": "legacy stays",
}
"""Commands that end with 1 here, and what they say: nothing was compared, decided or rolled back so far."""

TOO_LONG = ("shim bench",)
"""Measuring takes minutes; tests/bench does it."""


@pytest.mark.thorough
def test_every_line_can_be_typed(tmp_path: Path) -> None:
    """Each ends well, is at work until Ctrl-C, or says what is missing."""
    machine = prepared(tmp_path)
    rows = [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("| `shim ")]
    lines = [line for row in rows for line in re.findall(r"`(shim [^`]+)`", row.split(" | ")[0])]
    assert len(lines) > 20
    for line in lines:
        if not line.startswith(TOO_LONG):
            typed(line, tmp_path / "work", machine)


def prepared(folder: Path) -> dict[str, str]:
    """A folder with what the lines name, and the environment of a shell in it."""
    work = folder / "work"
    work.mkdir()
    (work / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "mcp.md", work / "docs")
    shutil.copy(ROOT / "pyproject.toml", work)
    for name in ("tools", "shim", "migration", "flags", "observability"):
        shutil.copytree(ROOT / name, work / name, ignore=shutil.ignore_patterns("__pycache__"))
    (work / "report.pdf").write_bytes(b"%PDF-1.4\nThe harbour master decided to move the pier.\n")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {"PATH": path, "HOME": str(folder), "SHIM_HOME": str(folder / "state"), "PYTHONPATH": str(work)}


def typed(line: str, work: Path, machine: dict[str, str]) -> None:
    """Type a line; its end must be the one that is expected."""
    with subprocess.Popen(  # noqa: S603  # the project's own document
        ["/bin/bash", "-c", f"exec {line}"],
        cwd=work,
        env=machine,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as shim:
        said = ""
        if line.startswith(UNTIL_CTRL_C):
            assert shim.stdout is not None
            said = shim.stdout.readline()
            shim.send_signal(signal.SIGINT)
        out, err = shim.communicate(timeout=SECONDS)
    expected = next((words for start, words in NOTHING_TO_DO.items() if line.startswith(start)), None)
    assert "Traceback" not in err, line
    assert said or not line.startswith(UNTIL_CTRL_C), line
    if expected is None:
        assert shim.returncode in {ExitCode.OK, ExitCode.INTERRUPTED}, f"{line}: {out}{err}"
    else:
        assert shim.returncode == ExitCode.FAILED, f"{line}: {out}{err}"
        assert expected in out + err, f"{line}: {out}{err}"
