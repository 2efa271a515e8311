"""A page that is left open does not grow."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from migration import Side
from tests.tools.console.conftest import Open, Opened
from tests.tools.console.scene import FLAG, Served
from tools.settings import Settings
from tools.vitals import CallSample, ProcessSample
from tools.vitals.file import write

Run = Callable[..., Served]

HEAP_BYTES = 3_000_000
"""By which the page's heap may differ, after it was cleared up: charts that fill up have more points."""

LOOKS = 8

WARM_UP = 40
"""Updates after which everything has been drawn that will be."""


PAUSE_SECONDS = 0.2
"""Between two changes of what is charted; the page is updated as often as it can be."""


@dataclass(frozen=True, slots=True)
class Size:
    """How large the page is after it was cleared up."""

    heap: int
    nodes: int
    listeners: int


def size_of(opened: Opened) -> Size:
    """Clear up, and look; a few times, for a chart that is being drawn counts twice. The least of each counts."""
    session = opened.page.context.new_cdp_session(opened.page)
    looks = []
    for _ in range(LOOKS):
        opened.wait_for_updates(1)
        session.send("HeapProfiler.collectGarbage")
        heap = session.send("Runtime.getHeapUsage")["usedSize"]
        counters = session.send("Memory.getDOMCounters")
        looks.append((int(heap), counters["nodes"], counters["jsEventListeners"]))
    session.detach()
    heaps, nodes, listeners = zip(*looks, strict=True)
    return Size(min(heaps), min(nodes), min(listeners))


@contextmanager
def traffic(settings: Settings) -> Iterator[None]:
    """Let calls end and memory change all the time, so that no two states are the same."""
    stop = threading.Event()

    def run() -> None:
        number = 0
        while not stop.wait(PAUSE_SECONDS):
            number += 1
            at, side = time.time(), (Side.LEGACY, Side.CANDIDATE)[number % 2]
            error = "TimeoutError" if number % 5 == 0 else None
            write(
                settings.vitals_file,
                [
                    CallSample(at=at, migration=FLAG, side=side, seconds=0.01 * (number % 7), bytes=1000, error=error),
                    ProcessSample(
                        at=at, process="web-1:1", memory=10**8 + number, memory_limit=10**9, pool_used=number % 9,
                        pool_limit=64, loop_delay=0.001 * (number % 5),
                    ),
                ],
            )  # fmt: skip

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("updates", [150, pytest.param(10_000, marks=pytest.mark.thorough)])
def test_it_does_not_grow(
    *,
    filled: Settings,
    console_of: Run,
    open_page: Open,
    tmp_path: Path,
    updates: int,
    say: Callable[[str], None],
) -> None:
    """Through all updates nodes and listeners stay as many as they were, and the heap as large."""
    shutil.copytree(filled.shim_home, tmp_path / "home")
    settings = filled.model_copy(update={"shim_home": tmp_path / "home"})
    opened = open_page(console_of(settings, every=0.001))
    with traffic(settings):
        for name in ("Evidence", "Comparisons", "Decisions", "Journal", "Traces", "Overview"):
            opened.view(name)
            opened.wait_for_updates(3)
        opened.wait_for_updates(WARM_UP)
        before, began, seen = size_of(opened), time.monotonic(), opened.updates
        opened.wait_for_updates(updates, seconds=3600)
        after, count = size_of(opened), opened.updates - seen
    say(
        f"{count} updates in {time.monotonic() - began:.0f} s: "
        f"heap {before.heap / 1e6:.2f} to {after.heap / 1e6:.2f} MB, "
        f"nodes {before.nodes} to {after.nodes}, listeners {before.listeners} to {after.listeners}"
    )
    assert after.heap < before.heap + HEAP_BYTES
    assert after.nodes < before.nodes * 1.2 + 200
    assert after.listeners < before.listeners * 1.2 + 100
