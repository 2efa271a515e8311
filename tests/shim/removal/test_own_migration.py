"""This repository's own migration is removed, in a copy of the tree."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from shim.removal.declarations import one_declared
from shim.removal.removal import removal
from shim.removal.sources import SourceTree
from tests.support.documents import ROOT

KIMI = "async-upload-kimi"
UPLOADS = "tests/tools/engine/test_batch.py"
CALLER = "tests/tools/test_smart_file_query.py"
OF_A_LEGACY_MODULE = f"{CALLER}::test_nothing_is_said_about_how_calls_are_routed[tools.providers.kimi.kimi_files]"
"""Of the module that is legacy no more: it imports what lets its blocking callers wait for the candidate."""

SECONDS = 300.0
"""Of one program in the copy."""

LEFT_OUT = shutil.ignore_patterns(".*", "build", "__pycache__", "*.egg-info")


@pytest.fixture(scope="module")
def removed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree, without the migration of Kimi's uploads."""
    copy = tmp_path_factory.mktemp("own") / "copy"
    shutil.copytree(ROOT, copy, ignore=LEFT_OUT)
    run(copy, "-m", "shim.cli", "remove", KIMI, "--apply")
    return copy


def run(folder: Path, *arguments: str) -> str:
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(folder)}
    done = subprocess.run(  # noqa: S603  # our own programs
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def run_tests(folder: Path, *arguments: str) -> None:
    """Run tests of the copy."""
    run(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments)


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
    for module in ("tools.providers.kimi.kimi_files", "tools.async_file_upload_refactored", "shim.application"):
        run(removed, "-c", f"import {module}")
    run_tests(removed, UPLOADS)


@pytest.mark.thorough
def test_the_unchanged_caller_uploads_through_the_new_function(removed: Path) -> None:
    """`smart_file_query` is the same file as before, and its own tests pass in the copy."""
    assert (removed / "tools/smart_file_query.py").read_bytes() == (ROOT / "tools/smart_file_query.py").read_bytes()
    legacy = (removed / "tools/providers/kimi/kimi_files.py").read_text(encoding="utf-8")
    assert "call_blocking(upload_via_supabase_gateway_kimi_async" in legacy
    run_tests(removed, CALLER, f"--deselect={OF_A_LEGACY_MODULE}")
