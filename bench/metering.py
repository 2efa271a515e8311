"""What one run costs its process, and how late an idle process beside it is."""

from __future__ import annotations

import asyncio
import gc
import json
import resource
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from bench.harness import Figure
from bench.ratios import percentile

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"
"""Resets the peak of the resident memory; see proc(5)."""

_TICK_SECONDS = 0.001


@contextmanager
def metered(figures: dict[str, float]) -> Iterator[None]:
    """Put wall time, CPU time and peak memory of the block into `figures`."""
    gc.collect()
    _CLEAR.write_text(_RESET_PEAK)
    held, used, began = _mebibytes("VmRSS"), _cpu_seconds(), time.perf_counter()
    yield
    figures[Figure.WALL] = time.perf_counter() - began
    figures[Figure.CPU] = _cpu_seconds() - used
    figures[Figure.MEMORY] = max(_mebibytes("VmHWM") - held, 0.0)


@asynccontextmanager
async def ticked(figures: dict[str, float]) -> AsyncIterator[None]:
    """Put into `figures` how late the running loop was for a tick each millisecond."""
    lateness: list[float] = []
    ticking = asyncio.create_task(_tick(lateness))
    try:
        yield
    finally:
        ticking.cancel()
        with suppress(asyncio.CancelledError):
            await ticking
    figures.update(stalls(lateness))


def stalls(lateness: list[float]) -> dict[str, float]:
    """What is reported of ticks that came so many seconds late."""
    late = lateness or [0.0]
    return {Figure.STALL_P99: percentile(late, 99) * 1000, Figure.STALL_MAX: max(late) * 1000}


async def _tick(lateness: list[float]) -> None:
    last = time.perf_counter()
    while True:
        try:
            await asyncio.sleep(_TICK_SECONDS)
        finally:  # a stall that lasts to the end counts as well
            now = time.perf_counter()
            lateness.append(max(now - last - _TICK_SECONDS, 0.0))
            last = now


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _mebibytes(field: str) -> float:
    """A figure of this process from the kernel, which gives it in KiB."""
    return int(_STATUS.read_text(encoding="ascii").partition(f"{field}:")[2].split()[0]) / 1024


# An idle process beside a run: how late its ticks are is what the machine, not the contender, is to blame for.

ROOT = Path(__file__).parents[1]

IDLE = "idle_"
"""In front of the names of what is measured here."""

_END_SECONDS = 10.0


@contextmanager
def ticking_beside() -> Iterator[dict[str, float]]:
    """Let the process tick for the length of the block; the figures are in the dictionary after it."""
    figures: dict[str, float] = {}
    with subprocess.Popen(
        [sys.executable, "-m", "bench.metering"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
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
