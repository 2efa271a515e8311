"""Every code block of every document is run, compiled, or says why not."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest

from tests.support.documents import ROOT, Block, Reader, blocks, documents, matches

RUN_BY_TESTS_OF_THEIR_OWN = {
    "docs/tutorial.md": "test_tutorial.py",
    "docs/migration-path.md": "test_migration_path.py",
    "docs/runbook.md": "../tools/cli/test_runbook.py",
}
"""Documents whose blocks are run in order, and by which test."""

NOT_RUN = {
    "docs/benchmarks.md": "measuring takes an hour",
    "docs/console.md": "a page is served until Ctrl-C; tests/tools/console does so",
    "docs/guard.md": "figures of long simulations",
    "docs/mcp.md": "a server runs until its client ends; tests/tools/cli/test_mcp.py does so",
    "docs/mutants.md": "trying all mutants takes an hour",
    "docs/recovery.md": "tests/tools/reconcile has its commands",
    "docs/telemetry.md": "names only",
}
"""Documents whose commands are only known to exist, and why."""

ALL = [block for document in documents() for block in blocks(document)]
REASONS = ("not run: ", "compiled: ", "output", "excerpt of ")


@pytest.mark.parametrize("block", [each for each in ALL if each.language == "python"], ids=lambda each: each.place)
def test_python_compiles(block: Block) -> None:
    """No example has a wrong syntax."""
    ast.parse(block.text)


def test_what_is_not_run_says_why() -> None:
    """A block without a test carries the reason, or its document does."""
    silent = [
        block.place
        for block in ALL
        if block.language in {"sh", "python"}
        and not block.marker.startswith(REASONS)
        and block.document not in RUN_BY_TESTS_OF_THEIR_OWN | NOT_RUN
        and block.document != "docs/migration-stages.md"
    ]
    assert silent == []
    assert all((Path(__file__).parent / name).exists() for name in RUN_BY_TESTS_OF_THEIR_OWN.values())


def test_the_page_of_stages_works_as_it_is_written(tmp_path: Path) -> None:
    """Its commands set the flags, in a file."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    reader = Reader(tmp_path, environment | {"SHIM_HOME": str(tmp_path / "state")})
    create = Block(document="", line=0, heading="", language="sh", text="shim flags create\n", marker="")
    for block in [create, *blocks(ROOT / "docs" / "migration-stages.md")]:
        reader.does(block)


def test_an_output_that_differs_is_found() -> None:
    """`...` stands for anything and blanks do not count; everything else does."""
    assert matches("a  b\n...\nd", "a b\nc\nd\n")
    assert not matches("a b", "a c")
    assert not matches("a", "a\nb")
