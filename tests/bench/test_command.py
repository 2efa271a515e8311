"""`shim bench` and `python -m bench`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench.__main__ import main
from shim.cli.conventions import ExitCode
from tools.cli import bench


def test_without_the_repository_it_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is installed elsewhere has no benchmark."""
    monkeypatch.setattr(bench, "_ROOT", tmp_path)
    assert bench.bench(quick=True, only=[], json=False) == ExitCode.FAILED
    assert "needs the repository" in capsys.readouterr().err


def test_it_runs_in_an_environment_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The program runs there with what was typed, and its failure is the command's."""
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o700)
    monkeypatch.setattr(bench, "_ENVIRONMENT", tmp_path)
    (tmp_path / "prepared").write_text(bench._fingerprint(), encoding="ascii")
    assert bench.bench(quick=True, only=["flying"], json=True) == ExitCode.FAILED
    said = capfd.readouterr()
    assert said.err.startswith("bench: there is no flying; there are large-50mb-tls, ")
    assert said.out == ""


def test_a_list_of_all_rows(capsys: pytest.CaptureFixture[str]) -> None:
    """What `--only` takes can be looked up."""
    assert main(["list"]) == 0
    assert "growth-size" in capsys.readouterr().out


def test_no_results_no_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, and the code of a failure."""
    assert main(["quote", "--results", str(tmp_path / "none.json")]) == 1
    assert capsys.readouterr().err.startswith("bench: there are no results")
