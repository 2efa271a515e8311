"""Every code block of every document is run, compiled, or says why not."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest

from tests.support.documents import ROOT, Block, Reader, blocks, documents, matches

RUN_IN_ORDER = {
    "docs/tutorial.md": "test_tutorial.py",
    "docs/migration-path.md": "test_migration_path.py",
    "docs/runbook.md": "../shim/cli/test_runbook.py",
    "docs/migration-stages.md": "test_blocks.py",
}
"""Documents whose blocks are run in order, and by which test."""

ALL = [block for document in documents() for block in blocks(document)]
REASONS = ("not run: ", "run by ", "output", "excerpt of ")


@pytest.mark.parametrize("block", [each for each in ALL if each.language == "python"], ids=lambda each: each.place)
def test_python_compiles(block: Block) -> None:
    """No example has a wrong syntax."""
    ast.parse(block.text)


def test_what_is_not_run_says_why() -> None:
    """Every block is run by a test, is what a test prints, or carries the reason why neither."""
    silent = [
        block.place
        for block in ALL
        if not block.marker.startswith(REASONS) and not (block.document in RUN_IN_ORDER and block.is_run)
    ]
    assert silent == []


def test_the_tests_that_run_blocks_exist() -> None:
    """A block or a page that names a test is named there as well."""
    by_page = [(name, Path(__file__).parent / test) for name, test in RUN_IN_ORDER.items()]
    by_block = [
        (block.document, ROOT / block.marker.removeprefix("run by "))
        for block in ALL
        if block.marker.startswith("run by ")
    ]
    unnamed = [(name, test.name) for name, test in by_page + by_block if Path(name).name not in test.read_text()]
    assert unnamed == []


def test_the_page_of_stages_works_as_it_is_written(tmp_path: Path) -> None:
    """Its commands set the flags, in a file."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    reader = Reader(tmp_path, environment | {"SHIM_HOME": str(tmp_path / "state"), "SHIM_APP": "tools.application:app"})
    create = Block(document="", line=0, heading="", language="sh", text="shim flags create\n", marker="")
    for block in [create, *blocks(ROOT / "docs" / "migration-stages.md")]:
        reader.does(block)


def test_an_output_that_differs_is_found() -> None:
    """`...` matches anything and blanks do not count; everything else does."""
    assert matches("a  b\n...\nd", "a b\nc\nd\n")
    assert not matches("a b", "a c")
    assert not matches("a", "a\nb")
