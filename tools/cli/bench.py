"""`shim bench`: the benchmark, in an environment of its own. It belongs to the repository, not to what is installed."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Annotated

import typer

from shim.cli.conventions import ExitCode, JsonOption
from shim.cli.output import note

_ROOT = Path(__file__).parents[2]
_ENVIRONMENT = _ROOT / "build" / "bench-venv"
_REQUIREMENTS = ("requirements.txt", "bench/requirements.txt")
_NIQUESTS = "bench/requirements-niquests.txt"
_CONSTRAINTS = "constraints.txt"


def bench(
    *,
    quick: Annotated[bool, typer.Option("--quick", help="Two minutes instead of an hour; leaves docs/ alone.")] = False,
    only: Annotated[
        list[str] | None, typer.Option(metavar="ROW", help="Measure this only; may be given several times.")
    ] = None,
    json: JsonOption = False,
) -> int:
    """Measure uploads and routed calls beside other ways. Writes docs/benchmarks.md; needs the repository."""
    if not (_ROOT / "bench" / "requirements.txt").exists():
        note("the benchmark needs the repository; what is installed here has no bench/")
        return ExitCode.FAILED
    python = _ENVIRONMENT / "bin" / "python"
    if not _is_prepared() and not _prepare(python):
        return ExitCode.FAILED
    arguments = [*(["--quick"] if quick else []), *(["--json"] if json else [])]
    arguments += [word for name in only or () for word in ("--only", name)]
    finished = subprocess.run([python, "-m", "bench", "run", *arguments], cwd=_ROOT, check=False)  # noqa: S603  # our own module
    if finished.returncode == ExitCode.INTERRUPTED:
        return ExitCode.INTERRUPTED
    return ExitCode.OK if finished.returncode == 0 else ExitCode.FAILED


def _is_prepared() -> bool:
    marker = _marker()
    return marker.exists() and marker.read_text(encoding="ascii") == _fingerprint()


def _prepare(python: Path) -> bool:
    """Install the peers; their output is shown only if that fails."""
    note("installing what the benchmark compares with (about a minute)")
    venv.create(_ENVIRONMENT, with_pip=True, clear=True)
    given = [argument for name in _REQUIREMENTS for argument in ("--requirement", name)]
    # a package of niquests rewrites urllib3 in the environment it is installed in, so it gets a folder of its own
    apart = ["--no-deps", "--target", os.fspath(_ENVIRONMENT / "niquests"), "--requirement", _NIQUESTS]
    for arguments in ([*given, "--constraint", _CONSTRAINTS], apart):
        finished = subprocess.run(  # noqa: S603  # fixed words
            [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", *arguments],
            cwd=_ROOT,
            stdout=sys.stderr,
            check=False,
        )
        if finished.returncode:
            note("the peers could not be installed; pip has said why")
            return False
    _marker().write_text(_fingerprint(), encoding="ascii")
    return True


def _marker() -> Path:
    return _ENVIRONMENT / "prepared"


def _fingerprint() -> str:
    """What is installed follows from these files."""
    files = (_ROOT / name for name in (*_REQUIREMENTS, _NIQUESTS, _CONSTRAINTS))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
