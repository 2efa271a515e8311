"""This repository's own migration is removed, in a copy of the tree."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.documents import ROOT
from tools.removal.declared import one_declared
from tools.removal.removal import removal
from tools.removal.tree import SourceTree

KIMI = "async-upload-kimi"
UPLOADS = ("tests/tools/engine/test_batch.py",)
LEFT_OUT = shutil.ignore_patterns(".*", "build", "__pycache__", "*.egg-info")


@pytest.fixture
def removed(tmp_path: Path) -> Path:
    """A copy of the tree, without the migration of Kimi's uploads."""
    copy = tmp_path / "copy"
    shutil.copytree(ROOT, copy, ignore=LEFT_OUT)
    run(copy, "-m", "tools.cli", "remove", KIMI, "--apply")
    return copy


def run(folder: Path, *arguments: str) -> str:
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(folder)}
    done = subprocess.run(  # noqa: S603  # our own programs
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def test_the_patch_touches_what_it_must() -> None:
    """The legacy module and the declarations; the caller is not among them."""
    found = removal(SourceTree(ROOT), one_declared(KIMI, "tools.migrations:MIGRATIONS", ROOT))
    files = {change.file.relative for change in found.changes}
    assert {"tools/providers/kimi/kimi_files.py", "tools/migrations.py"} <= files
    assert "tools/smart_file_query.py" not in files


@pytest.mark.thorough
def test_uploads_go_on_without_the_migration(removed: Path) -> None:
    """The candidate's tests are green in the copy, and every module can be imported in any order."""
    declared = "import tools.migrations as m; print(*m.NAMES)"
    assert run(removed, "-c", declared).split() == ["async-upload-glm"]
    for module in ("tools.providers.kimi.kimi_files", "tools.async_file_upload_refactored", "tools.composition"):
        run(removed, "-c", f"import {module}")
    run(removed, "-m", "pytest", "-q", "-p", "no:cacheprovider", *UPLOADS)


@pytest.mark.thorough
def test_the_unchanged_caller_uploads_through_the_new_function(removed: Path) -> None:
    """`smart_file_query`'s own tests pass in the copy."""
    run(removed, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/tools/test_smart_file_query.py")
