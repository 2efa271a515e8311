"""The path of a migration: its commands exist and do what the page says."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from shim.cli.app import commands
from shim.cli.finding import searching
from tests.support.documents import ROOT, Reader, blocks, documents

COPIED = ("tools", "migration", "flags", "observability", "pyproject.toml", "constraints.txt", "requirements.txt")


@pytest.mark.thorough
def test_the_path_works_as_it_is_written(tmp_path: Path) -> None:
    """Every block runs in a copy of the program, to the patch that removes a migration."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tmp_path)
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(tmp_path), "COLUMNS": "200"}
    reader = Reader(tmp_path, environment | {"SHIM_HOME": str(tmp_path / "state")})
    for block in blocks(ROOT / "docs" / "migration-path.md"):
        reader.does(block)
    assert "call_blocking" in (tmp_path / "removal.patch").read_text()


def test_every_command_in_the_documents_exists() -> None:
    """Wherever a document says `shim ...`, there is such a command with such options."""
    with searching("tools.application:app"):
        command = commands()
    for document in documents():
        for line in re.findall(r"^shim .*$|`shim [^`]*`", document.read_text(encoding="utf-8"), re.MULTILINE):
            words = line.strip("`").partition(" #")[0].split()[1:]
            found = known(command, words)
            assert found is None, f"{document.name}: {line}: {found}"


def known(command: object, words: list[str]) -> str | None:
    """What of these words is no command or option; None if all are."""
    for word in words:
        commands = getattr(command, "commands", {})
        if word in commands:
            command = commands[word]
        elif commands and re.fullmatch(r"[a-z]+", word) and not getattr(command, "default", None):
            return word
    default = getattr(command, "default", None)
    if default:
        command = getattr(command, "commands", {})[default]
    options = {option for each in getattr(command, "params", []) for option in each.opts}
    wrong = [word for word in words if word.startswith("--") and word not in options | {"--help", "--debug"}]
    return wrong[0] if wrong else None
