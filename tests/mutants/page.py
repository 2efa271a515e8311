"""The page about the mutants: `python -m tests.mutants.page` makes all trials and writes it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from tests.mutants.blind import BLIND, Blind
from tests.mutants.mutant import ROOT
from tests.mutants.trial import Result
from tests.mutants.trials import MUTANTS, begun

PAGE: Final = ROOT / "docs" / "mutants.md"

_HEAD = """# What comparisons find, and what they do not

Each row of this page is the program with one deliberate defect in the candidate: a patch of a few
characters, applied to a copy that runs in a process of its own. Up to 20 sampled calls are made
([tests/mutants/calls.py](../tests/mutants/calls.py): both providers, both storages, every entrance, sizes around every
border, a few failures; mostly legacy serves). The table says at which call a comparison first was a mismatch, with
which verdict, and one of the fields that it named. The true implementations pass the same calls, and any number of
generated ones: of 10,000 comparisons 6,136 ended `identical` and 3,864 as `same_error`, none in a mismatch.

<!-- not run: trying all mutants takes an hour; `make proofs` does -->
```sh
make proofs ARGS=tests/mutants                    # the first table, and generated calls for a while
.venv/bin/python -m tests.mutants.many 10000      # so many generated calls of the true implementations
.venv/bin/python -m tests.mutants.page            # writes this page
```

## Caught

| defect | in | caught | shows in |
|---|---|---|---|
"""

_MIDDLE = """
## Not to be seen in requests

These defects pass all 20 calls. Each has a test that fails because of it (writing this page runs it on the mutant).

| defect | in | why no comparison sees it | what does |
|---|---|---|---|
"""


def rows(results: Mapping[str, Result] | None = None) -> Iterator[str]:
    """The rows of both tables; without results they say nothing about calls."""
    for mutant in MUTANTS:
        caught = f"at call {results[mutant.defect].calls}, {results[mutant.defect].verdict}" if results else "at call "
        yield f"| {mutant.defect} | `{mutant.file}` | {caught} | `{mutant.shows_in}` |"
    for blind in BLIND:
        yield f"| {blind.mutant.defect} | `{blind.mutant.file}` | {blind.because} | `{blind.caught_by}` |"


def write(results: Mapping[str, Result]) -> None:
    """Write the page."""
    every = list(rows(results))
    caught, unseen = "\n".join(every[: len(MUTANTS)]), "\n".join(every[len(MUTANTS) :])
    PAGE.write_text(f"{_HEAD}{caught}\n{_MIDDLE}{unseen}\n", encoding="utf-8")


def fails_on(blind: Blind, folder: Path) -> bool:
    """Whether the test that is named for a defect fails on the program with that defect, and can be run at all."""
    program = blind.mutant.write(folder)
    shutil.copytree(ROOT / "tests", program / "tests", ignore=shutil.ignore_patterns("node_modules", "__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", program)
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", "", blind.caught_by]
    ended = subprocess.run(command, cwd=program, capture_output=True, check=False)  # noqa: S603  # our own interpreter
    return ended.returncode == 1


def main() -> None:
    """Make all trials, write the page.

    Raises:
        AssertionError: a defect is not where it belongs.
    """
    with tempfile.TemporaryDirectory() as name:
        every = [*MUTANTS, *(blind.mutant for blind in BLIND)]
        with begun(every, Path(name)) as trials:
            results = {defect: trial.result() for defect, trial in trials.items()}
        for mutant in MUTANTS:
            assert results[mutant.defect].shows(mutant.shows_in), mutant.defect
        for blind in BLIND:
            assert not results[blind.mutant.defect].caught, blind.mutant.defect
            with tempfile.TemporaryDirectory(dir=name) as folder:
                assert fails_on(blind, Path(folder)), blind.caught_by
    write(results)


if __name__ == "__main__":
    main()
