"""A shim keeps the signature of its function for type checkers, both ways of calling."""

from __future__ import annotations

from pathlib import Path

from mypy import api

CASES = Path(__file__).with_name("typing_cases.py")
CONFIGURATION = Path(__file__).parents[2] / "pyproject.toml"


def check(cases: Path) -> tuple[str, int]:
    """What mypy says of a file, and its exit status."""
    printed, problems, status = api.run(["--config-file", str(CONFIGURATION), str(cases)])
    assert problems == ""
    return printed, status


def test_mypy_accepts_and_rejects_what_it_would_without_a_shim() -> None:
    """Arguments, keywords and results of functions, methods and static methods are checked as before."""
    assert check(CASES) == ("Success: no issues found in 1 source file\n", 0)


def test_the_expected_errors_are_real(tmp_path: Path) -> None:
    """Without its expectations the same file has exactly those errors, so the test above can fail."""
    expectations = CASES.read_text().count("# type: ignore[")
    bare = tmp_path / "typing_cases.py"
    bare.write_text(CASES.read_text().replace("# type: ignore[", "# "))
    printed, status = check(bare)
    assert status == 1
    assert f"Found {expectations} errors in 1 file" in printed, printed
