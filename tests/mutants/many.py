"""Very many comparisons of the true implementations: `python -m tests.mutants.many 10000`.

Small files, hostile names and contents, sizes around borders, every entrance, both storages, either side serving, and
some failures; the same calls each time.
"""

from __future__ import annotations

import logging
import math
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any, Final

from migration import Comparison, Side
from migration.model import MISMATCHES, NOT_COMPARED
from tests.mutants.calls import KIB, MIB, Document, Entrance, SampledCall
from tests.mutants.world import SECONDS, World, one_certificate, world
from tools.sandbox import Fault, FaultKind, running_sandbox

PROCESSES: Final = 2
TOGETHER: Final = 50
"""Calls after which all comparisons are awaited, and the sandbox is emptied."""

WAITING: Final = 32
"""Comparisons that may wait while calls go on: fewer than the queue takes."""

SHOWN: Final = 20
"""Mismatches of which the differing fields are told."""

_PARTS = (
    *"aZ0.-_ ~'\"\\%;=:,+&?#<>|*()[]{}$!@`^\t\n\r\x1b\x7f",
    "%22",
    "%0A",
    "\\\\",
    "filename=",
    "é",
    "e\u0301",
    "文件",
    "🙂",
    "\u202e",
    "..",
    "report",
)
_ENTRANCES: Final[Sequence[Entrance]] = ("function", "function", "one", "many")
_EXTENSIONS = ("", ".txt", ".PDF", ".md", ".csv", ".png", ".xyzzy", ".tar.gz", ".")
_HEADS = (b"", b"", b"\xef\xbb\xbf", b"--boundary\r\n", b"\r\n", b"\0", b"%PDF-1.7\n")
_TAILS = (b"", b"", b"\n", b"\r\n", b"\r\n--", b"\0", b" ")
_BORDERS = (4 * KIB, 64 * KIB, 256 * KIB, 512 * KIB, MIB)
_FAULTS = (
    Fault(kind=FaultKind.ERROR_IN_SUCCESS, service="glm", operation="files.create", times=None),
    Fault(kind=FaultKind.SERVER_ERROR, service="supabase", operation="object.upload", times=None),
    Fault(kind=FaultKind.SERVER_ERROR, service="supabase", operation="table.insert", times=None),
    Fault(kind=FaultKind.SERVER_ERROR, service="supabase", operation="table.select", times=None),
)


def generated_calls(random: Random) -> Iterator[SampledCall]:
    """Calls without end."""
    while True:
        entrance = random.choice(_ENTRANCES)
        serve = Side.LEGACY if random.random() < 0.8 else Side.CANDIDATE
        documents = [_document(random) for _ in range(random.randint(1, 4) if entrance == "many" else 1)]
        faults = [random.choice(_FAULTS)] if random.random() < 0.1 else []
        purpose = "nonsense" if random.random() < 0.03 else None
        if entrance == "many" and serve is Side.CANDIDATE:
            # where several files fail side by side, nobody can tell afterwards whose refusal was whose
            documents = [Document(name=f"{number} {random.random()}.txt", size=100) for number in range(len(documents))]
            faults, purpose = [], None
        yield SampledCall(
            entrance=entrance,
            provider=random.choice(("kimi", "glm")),
            storage=random.choice(("supabase", "embedded")),
            documents=list({document.name: document for document in documents}.values()),
            serve=serve,
            purpose=purpose,
            bucket=f"bucket-{random.randint(1, 9)}" if random.random() < 0.1 else None,
            faults=faults,
        )


def _document(random: Random) -> Document:
    name = "".join(random.choices(_PARTS, k=random.randint(1, 12))) + random.choice(_EXTENSIONS)
    if name.strip(".") == "":
        name = "dots.txt"
    if random.random() < 0.02:
        return Document(name=name, size=None)
    head, tail = random.choice(_HEADS), random.choice(_TAILS)
    least = len(head) + len(tail)
    if random.random() < 0.05:
        size = random.choice(_BORDERS) + random.choice((-1, 0, 1))
    elif random.random() < 0.02:
        return Document(name=name, size=0)
    else:
        size = random.randint(least, 3000)
    return Document(name=name, size=size, head=head, tail=tail)


@dataclass(slots=True)
class Tally:
    """What very many comparisons said."""

    verdicts: Counter[str] = field(default_factory=Counter)
    told: list[str] = field(default_factory=list)

    def add(self, comparison: Comparison) -> None:
        """Count a comparison."""
        self.verdicts[str(comparison.verdict)] += 1
        if comparison.verdict in {*MISMATCHES, *NOT_COMPARED} and len(self.told) < SHOWN:
            self.told.append(f"{comparison.verdict} {comparison.detail} {comparison.differences[:5]}")

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.verdicts + other.verdicts, [*self.told, *other.told])

    @property
    def agree(self) -> bool:
        """Whether every single call was compared, and no comparison was a mismatch."""
        return not any(verdict in {*MISMATCHES, *NOT_COMPARED} for verdict in self.verdicts)

    def __str__(self) -> str:
        counted = ", ".join(f"{count} {verdict}" for verdict, count in self.verdicts.most_common())
        return "\n".join([f"{sum(self.verdicts.values())} comparisons: {counted}", *self.told])


def compare_many(count: int, *, seconds: float = math.inf) -> Tally:
    """Compare `count` generated calls, or as many as can be in about so many seconds, in several processes."""
    spawning = multiprocessing.get_context("spawn")
    shares = [count // PROCESSES + (number < count % PROCESSES) for number in range(PROCESSES)]
    with ProcessPoolExecutor(PROCESSES, mp_context=spawning) as pool:
        return sum(pool.map(_share, range(PROCESSES), shares, [seconds] * PROCESSES), Tally())


def _share(seed: int, count: int, seconds: float) -> Tally:
    until = time.monotonic() + seconds
    calls = islice(generated_calls(Random(seed)), count)
    tally = Tally()
    with tempfile.TemporaryDirectory() as name, running_sandbox(Path(name) / "sandbox") as sandbox:
        folder = Path(name) / "files"
        logging.disable()  # failures are wanted here
        os.environ["SSL_CERT_FILE"] = str(one_certificate(Path(name)))
        with world(sandbox, Path(name) / "home") as here:
            while time.monotonic() < until and (some := list(islice(calls, TOGETHER))):
                _compare(here, some, folder)
                for comparison in here.found:
                    tally.add(comparison)
                here.found.clear()
                shutil.rmtree(folder)
                sandbox.reset()
    return tally


def _compare(here: World, calls: list[SampledCall], folder: Path) -> None:
    faults: Any = []
    for number, call in enumerate(calls):
        if call.faults != faults:
            here.sandbox.set_faults(call.faults)
            faults = call.faults
        here.begin(call, call.write_files(folder / str(number)))
        while here.runtime.shadows.pending >= WAITING:
            time.sleep(0.01)
    assert here.runtime.shadows.drain(SECONDS * WAITING)
    assert len(here.found) == len(calls)


if __name__ == "__main__":
    began = time.perf_counter()
    result = compare_many(int(sys.argv[1]))
    print(f"{result}\n{time.perf_counter() - began:.0f} s")  # noqa: T201  # what the command is for
    sys.exit(not result.agree)
