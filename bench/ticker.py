"""An idle process beside a run: how late its ticks are is what the machine, not the contender, is to blame for."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.harness import Figure
from bench.metering import ticked

ROOT = Path(__file__).parents[1]

IDLE = "idle_"
"""In front of the names of what is measured here."""

_END_SECONDS = 10.0


@contextmanager
def ticking_beside() -> Iterator[dict[str, float]]:
    """Let the process tick for the length of the block; the figures are in the dictionary after it."""
    figures: dict[str, float] = {}
    with subprocess.Popen(
        [sys.executable, "-m", "bench.ticker"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield figures
        finally:
            said, _ = process.communicate(timeout=_END_SECONDS)  # the end of its input ends it
    figures.update(json.loads(said))


async def _main() -> None:
    figures: dict[str, float] = {}
    loop = asyncio.get_running_loop()
    async with ticked(figures):
        ended = loop.create_future()
        loop.add_reader(sys.stdin.fileno(), ended.set_result, None)
        await ended
        loop.remove_reader(sys.stdin.fileno())
    json.dump({f"{IDLE}{name}": figures[name] for name in (Figure.STALL_P99, Figure.STALL_MAX)}, sys.stdout)


if __name__ == "__main__":
    asyncio.run(_main())
