"""One trial: the sampled calls, one after the other, until a comparison is a mismatch.

`python -m tests.mutants.trial SANDBOX`, run in the folder of a mutant's copy of the program. Prints what was found.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from migration import Comparison
from migration.model import MISMATCHES
from tests.mutants.calls import SAMPLED_CALLS
from tests.mutants.mutant import ROOT
from tests.mutants.world import one_certificate, world
from tools.sandbox import RunningSandbox

LONGEST_SECONDS = 180.0
"""A trial that takes longer has hung."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a trial ended.

    Attributes:
        calls: how many calls were made.
        verdict: of the last comparison.
        fields: in which both sides differed, `[*]` for any index.
        not_compared: why calls before were not compared.
    """

    calls: int
    verdict: str
    fields: Sequence[str]
    not_compared: Sequence[str]

    @property
    def caught(self) -> bool:
        """Whether the last comparison was a mismatch."""
        return self.verdict in MISMATCHES

    def shows(self, pattern: str) -> bool:
        """Whether both sides differed in this field."""
        return any(fnmatchcase(field, pattern.replace("[", "[[]")) for field in self.fields)


def run(program: Path, sandbox: RunningSandbox) -> Result:
    """Make a trial of the program in a folder, in a process of its own.

    Raises:
        AssertionError: the trial itself failed.
    """
    given = json.dumps({**asdict(sandbox), "home": str(sandbox.home)})
    ended = subprocess.run(  # noqa: S603  # our own interpreter and module
        [sys.executable, "-m", "tests.mutants.trial", given],
        cwd=program,  # where Python looks first
        env={"PYTHONPATH": str(ROOT), "PATH": "", "SSL_CERT_FILE": str(one_certificate(sandbox.home))},
        capture_output=True,
        text=True,
        timeout=LONGEST_SECONDS,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-4000:]
    return Result(**json.loads(ended.stdout.splitlines()[-1]))


def main(given: str) -> None:
    """Make the calls, print the result."""
    import tools  # noqa: PLC0415  # to see which one Python has found

    assert Path(tools.__file__ or "").parent.parent == Path.cwd(), "the mutant is not what is running"
    sandbox = RunningSandbox(**{**json.loads(given), "home": Path()})
    with tempfile.TemporaryDirectory() as name:
        result = _trial(sandbox, Path(name))
    print(json.dumps(asdict(result)))  # noqa: T201  # what the program is for


def _trial(sandbox: RunningSandbox, folder: Path) -> Result:
    found: list[Comparison] = []
    with world(sandbox, folder / "home") as here:
        for number, call in enumerate(SAMPLED_CALLS, start=1):
            found.append(here.compare(call, folder / str(number)))
            if found[-1].verdict in MISMATCHES:
                break
    last = found[-1]
    return Result(
        calls=len(found),
        verdict=last.verdict,
        fields=tuple(dict.fromkeys(re.sub(r"\[\d+\]", "[*]", difference.field) for difference in last.differences)),
        not_compared=[f"{number}: {one.detail}" for number, one in enumerate(found, start=1) if one.detail],
    )


if __name__ == "__main__":
    main(sys.argv[1])
