"""Trials of several mutants, side by side."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Final

from tests.mutants import in_contents, in_entrances, in_requests
from tests.mutants.mutant import Mutant
from tests.mutants.trial import Result, run
from tools.sandbox import RunningSandbox, running_sandbox

AT_ONCE: Final = 2
"""Trials at once, each with a sandbox of its own, for they set its faults."""

MUTANTS: Final = (*in_entrances.MUTANTS, *in_contents.MUTANTS, *in_requests.MUTANTS)
"""All defects that a comparison sees."""


@contextmanager
def begun(mutants: Iterable[Mutant], folder: Path) -> Iterator[Mapping[str, Future[Result]]]:
    """Trials that go on meanwhile, by the mutants' defects; those that have not begun at the end never do."""
    sandboxes: SimpleQueue[RunningSandbox] = SimpleQueue()

    def trial(mutant: Mutant) -> Result:
        sandbox = sandboxes.get()
        try:
            with tempfile.TemporaryDirectory(dir=folder) as program:
                return run(mutant.write(Path(program)), sandbox)
        finally:
            sandboxes.put(sandbox)

    with ExitStack() as stack:
        for number in range(AT_ONCE):
            sandboxes.put(stack.enter_context(running_sandbox(folder / f"sandbox-{number}")))
        pool = ThreadPoolExecutor(AT_ONCE)
        stack.callback(pool.shutdown, cancel_futures=True)
        yield {mutant.defect: pool.submit(trial, mutant) for mutant in mutants}
