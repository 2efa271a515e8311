"""The tutorial, as a reader types it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.support.documents import ROOT, Reader, blocks


@pytest.mark.thorough
def test_the_tutorial_works_as_it_is_written(tmp_path: Path) -> None:
    """Every block runs, prints what the page shows, and leaves the example's own tests green after the removal."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    reader = Reader(tmp_path, environment)
    found = blocks(ROOT / "docs" / "tutorial.md")
    for block in found:
        reader.does(block)
    assert sum(block.is_run for block in found) > 8
    assert "call_blocking" in (tmp_path / "examples/invoices/billing/invoices.py").read_text()


def test_excerpts_are_what_stands_there() -> None:
    """What the page shows of a file is in the file."""
    for block in blocks(ROOT / "docs" / "tutorial.md"):
        if block.marker.startswith("excerpt of "):
            assert block.text in (ROOT / block.marker.removeprefix("excerpt of ")).read_text(), block.place
