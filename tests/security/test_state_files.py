"""What is kept on this machine is its owner's alone, whatever the umask says."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.sandbox import RunningSandbox

REPOSITORY = Path(__file__).parents[2]
PRIVATE_FOLDER, PRIVATE_FILE = 0o700, 0o600


def run(home: Path, *arguments: str, **variables: str) -> None:
    """Run a command with a umask that forbids nothing."""
    inherited = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    environment = inherited | {"HOME": str(home.parent), "SHIM_HOME": str(home), "PYTHONPATH": str(REPOSITORY)}
    environment["SHIM_APP"] = "tools.application:app"
    subprocess.run(  # noqa: S603  # our own program
        [sys.executable, "-m", "shim.cli", *arguments],
        cwd=home.parent,
        env=environment | variables,
        umask=0,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
        check=True,
    )


def open_to_others(home: Path) -> Iterator[str]:
    """What somebody else may look into, and how."""
    for path in (home, *home.rglob("*")):
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            continue
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & ~(PRIVATE_FOLDER if path.is_dir() else PRIVATE_FILE):
            yield f"{path.relative_to(home.parent)} {mode:o}"


@pytest.mark.parametrize("storage", ["sandbox", "embedded"])
def test_everything_kept_is_private(storage: str, tmp_path: Path, sandbox: RunningSandbox) -> None:
    """Each folder is 0700 and each file 0600, from the first one on."""
    home = tmp_path / "state" / "home"
    home.parent.mkdir()
    document = home.parent / "report.txt"
    document.write_text("harmless")
    keys = {
        "KIMI_API_KEY": sandbox.key,
        "KIMI_API_URL": sandbox.urls["kimi"],
        "SHADOW_MODE": "live",
    }
    variables = keys if storage == "embedded" else {}
    run(home, "flags", "create", **variables)
    run(home, "flags", "set", "async-upload-kimi", "100", **variables)
    run(home, "flags", "set", "async-upload-kimi.shadow", "100", **variables)
    run(home, "upload", str(document), **variables)
    run(home, "compare", str(document), "--provider", "kimi", **variables)
    run(home, "status", "--json", **variables)
    names = {path.name for path in home.rglob("*")}
    assert {"shim.db", "flags.json"} <= names
    assert list(open_to_others(home)) == []
